"""From a record of the watch to a TranscriptionJob, or to the sentence that says why it is none."""

from __future__ import annotations

import json

from pydantic import ValidationError

from transcription_api.job import TranscriptionJob
from transcription_api.load import validate_manifest
from transcription_operator.world import Record


class InvalidSpec(Exception):
    """The API server took a spec that this release does not: they are of different versions."""


def parse(record: Record) -> TranscriptionJob:
    """The job of a record.

    Raises:
        InvalidSpec: with every fault, and the mend of each.
    """
    text = json.dumps(record.body)
    try:
        return TranscriptionJob.model_validate_json(text, by_alias=True, by_name=False)
    except ValidationError as error:
        faults = validate_manifest(text, local=False)
        raise InvalidSpec("; ".join(map(str, faults)) or str(error)) from None


def without_spec(record: Record) -> TranscriptionJob:
    """What is left of a job whose spec cannot be read: enough to write its status and events."""
    status = record.body.get("status") or None
    stand_in = {"input": {"uri": "s3://unreadable/"}, "output": {"uri": "s3://unreadable/"}, "model": {"name": "none"}}
    return TranscriptionJob.model_validate_json(json.dumps({**record.body, "spec": stand_in, "status": status}))
