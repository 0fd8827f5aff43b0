"""Which events a change of status is worth (core/v1 Event), so that `kubectl describe tj` tells the story. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from transcription_api.conditions import Condition
from transcription_api.job import TranscriptionJob
from transcription_api.names import API_VERSION, APP_NAME, KIND, ConditionReason, ConditionType
from transcription_api.status import TranscriptionJobStatus
from transcription_operator.said import text

_WARNINGS = {
    ConditionReason.POD_BLOCKED,
    ConditionReason.REFUSED,
    ConditionReason.PLAN_FAILED,
    ConditionReason.REPORT_FAILED,
    ConditionReason.WORKERS_LOST,
    ConditionReason.TOO_MANY_FAILED_RECORDINGS,
    ConditionReason.COMPLETED_WITH_FAILURES,
    ConditionReason.DEADLINE_EXCEEDED,
    ConditionReason.CONFIGURATION,
    ConditionReason.INVALID_SPEC,
}
_SUSPENDED = {ConditionReason.SUSPENDED_BY_SPEC, ConditionReason.SUSPENDED_BY_QUEUE}


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a job."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def transitions(before: TranscriptionJobStatus | None, after: TranscriptionJobStatus) -> Iterator[Event]:
    """One event per condition that came to hold, and one whenever the reason why a job is not complete changes."""
    old = before.conditions if before is not None else ()
    for condition in after.conditions:
        earlier = next((one for one in old if one.type == condition.type), None)
        if condition.type == ConditionType.FAILED or (earlier is not None and _same(earlier, condition)):
            continue  # Complete=False says the same with the same reason
        if condition.status == "False" and condition.type == ConditionType.PLANNED:
            continue
        if condition.type == ConditionType.COMPLETE and condition.reason in _SUSPENDED:
            continue  # Suspended=True says it
        yield _event(condition)


def _same(one: Condition, other: Condition) -> bool:
    return (one.status, one.reason) == (other.status, other.reason)


def _event(condition: Condition) -> Event:
    kind: Literal["Normal", "Warning"] = "Warning" if condition.reason in _WARNINGS else "Normal"
    return Event(kind, condition.reason, text(condition.message))


def event_body(job: TranscriptionJob, event: Event, now: datetime) -> dict[str, Any]:
    """The core/v1 object."""
    meta, moment = job.metadata, now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{meta.name}.{uuid.uuid4().hex[:16]}", "namespace": meta.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": meta.name,
            "namespace": meta.namespace,
            "uid": meta.uid,
        },
        "type": event.type,
        "reason": event.reason,
        "message": event.message,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
        "source": {"component": APP_NAME},
        "reportingComponent": APP_NAME,
        "reportingInstance": APP_NAME,
    }
