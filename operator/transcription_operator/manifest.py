"""From a record of the watch to a TranscriptionJob, or to the sentence that says why it is none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from transcription_api.job import TranscriptionJob
from transcription_api.load import validate_manifest
from transcription_operator.world import Record


class InvalidSpec(Exception):
    """The API server took a spec that this release does not: no rule of its schema sees the fault, or they are of
    different versions."""


def parse(record: Record) -> TranscriptionJob:
    """The job of a record.

    Raises:
        InvalidSpec: with every fault, and the mend of each.
    """
    try:
        return _parse(record.body)
    except ValidationError as error:
        with suppress(ValidationError):
            return _parse({**record.body, "status": _ends_of(record)})
        manifest = {name: value for name, value in record.body.items() if name != "status"}
        faults = validate_manifest(json.dumps(manifest), local=False)
        raise InvalidSpec("; ".join(map(str, faults)) or str(error)) from None


def without_spec(record: Record) -> TranscriptionJob:
    """What is left of a job whose spec cannot be read: enough to write its status and events."""
    spec = {"input": {"uri": "s3://unreadable/"}, "output": {"uri": "s3://unreadable/"}, "model": {"name": "none"}}
    try:
        return _parse({**record.body, "spec": spec})
    except ValidationError:
        return _parse({**record.body, "spec": spec, "status": _ends_of(record)})


def _parse(body: Mapping[str, Any]) -> TranscriptionJob:
    return TranscriptionJob.model_validate_json(json.dumps(body), by_alias=True, by_name=False)


def _ends_of(record: Record) -> dict[str, Any]:
    """Of a status that a later release wrote, what must not be forgotten: whether and when the job has ended."""
    status = record.body.get("status") or {}
    return {name: status[name] for name in ("conditions", "startTime", "completionTime") if name in status}
