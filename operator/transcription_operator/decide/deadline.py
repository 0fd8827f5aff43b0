"""`spec.activeDeadlineSeconds`: the clock starts with the plan Job, and anew when a suspended job goes on, as a Job's
does (batch/v1 JobSpec)."""

from __future__ import annotations

from datetime import datetime

from transcription_api.conditions import find_condition
from transcription_api.job import TranscriptionJob
from transcription_api.names import ConditionReason, ConditionType
from transcription_operator.decide.step import Step, failed
from transcription_operator.observe import parse_time
from transcription_operator.observed import Observed


def seconds_left(job: TranscriptionJob, seen: Observed, now: datetime) -> float | None:
    """Seconds until the deadline; None where there is none or its clock stands still."""
    limit = job.spec.active_deadline_seconds
    if limit is None or job.spec.suspend or not seen.children:
        return None
    start = min(child.created for child in seen.children)
    suspended = find_condition(job.status.conditions, ConditionType.SUSPENDED) if job.status else None
    if suspended is not None:
        if suspended.status == "True":
            return None
        start = max(start, parse_time(suspended.last_transition_time))
    return limit - (now - start).total_seconds()


def deadline(job: TranscriptionJob, seen: Observed, now: datetime) -> Step | None:
    left = seconds_left(job, seen, now)
    if left is None or left > 0:
        return None
    return failed(
        ConditionReason.DEADLINE_EXCEEDED,
        f"The job was stopped after activeDeadlineSeconds ({job.spec.active_deadline_seconds}); "
        "delete the job and apply it again with a later deadline: it does only what is missing.",
    )
