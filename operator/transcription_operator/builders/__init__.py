"""From a TranscriptionJob to the Jobs that do it: pure functions, each of which returns an object ready to be created.

Kubernetes objects are dicts here and nowhere else. Nothing is asked of the API server and no clock is read: the same
job and settings give the same object, so that "it exists already" is a success.
"""

from transcription_operator.builders.environment import ManifestTooLargeError
from transcription_operator.builders.metadata import child_name
from transcription_operator.builders.origin import origin
from transcription_operator.builders.plan_job import build_plan_job
from transcription_operator.builders.report_job import build_report_job
from transcription_operator.builders.work_job import build_work_job

__all__ = ["ManifestTooLargeError", "build_plan_job", "build_report_job", "build_work_job", "child_name", "origin"]
