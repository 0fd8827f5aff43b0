"""Moments in the life of a job, for the tests of decisions."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from transcription_api.job import TranscriptionJob
from transcription_api.names import Component
from transcription_operator.observed import ChildJob, Ended, Observed, Outcome, Pod

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
UID = "0f0e0d0c-1111-2222-3333-444455556666"

PLAN_SAID = {
    "job_id": "calls-0f0e0d0c",
    "recordings": 10,
    "ignored": 2,
    "total_bytes": 1234,
    "shards": 4,
    "conditional_writes": True,
}
REPORT_SAID = {
    "planned": 10,
    "missing": 0,
    "done": 8,
    "skipped": 2,
    "failed": 0,
    "audio_seconds": 99.5,
    "speed": 12.0,
    "report": "s3://transcripts/_transcription/calls-0f0e0d0c/report/index.html",
}


def job(*, status: Any = None, labels: dict[str, str] | None = None, **spec: Any) -> TranscriptionJob:
    body = {
        "metadata": {"name": "calls", "namespace": "team", "uid": UID, "generation": 1, "labels": labels or {}},
        "spec": {
            "input": {"uri": "s3://calls/"},
            "output": {"uri": "s3://transcripts/"},
            "model": {"name": "nvidia/parakeet-tdt-0.6b-v3"},
            "workers": {"replicas": 2},
            **spec,
        },
    }
    parsed = TranscriptionJob.model_validate_json(json.dumps(body))
    return parsed.model_copy(update={"status": status})


def child(component: Component, outcome: Outcome | None = None, *, age: float = 60.0, **fields: Any) -> ChildJob:
    """`age`: seconds since it was made; one that ended did so 10 s ago unless `ended` says otherwise."""
    defaults: dict[str, Any] = {
        "component": component,
        "name": f"calls-{component}",
        "uid": f"{component}-uid",
        "version": 1,
        "owner_uid": UID,
        "created": NOW - timedelta(seconds=age),
        "outcome": outcome,
        "ended": NOW - timedelta(seconds=10) if outcome else None,
        "parallelism": 2 if component is Component.WORK else 1,
    }
    return ChildJob(**{**defaults, **fields})


def pod(
    of: ChildJob,
    phase: str,
    message: str = "",
    exit_code: int = 0,
    *,
    ago: float = 10.0,
    reason: str = "",
    **fields: Any,
) -> Pod:
    """A pod of a child; one that ended did so `ago` seconds ago with this termination message."""
    ended = None
    if phase in ("Succeeded", "Failed"):
        ended = Ended(str(of.component), exit_code, message, NOW - timedelta(seconds=ago), reason)
    defaults: dict[str, Any] = {
        "name": f"{of.name}-x1y2z",
        "uid": f"{of.uid}-pod",
        "owner_uid": of.uid,
        "component": of.component,
        "phase": phase,
        "ended": ended,
    }
    return Pod(**{**defaults, **fields})


PLAN_RUNS = child(Component.PLAN)
PLAN_DONE = child(Component.PLAN, Outcome.COMPLETE)
WORK_RUNS = child(Component.WORK, active=2, ready=2)
WORK_DONE = child(Component.WORK, Outcome.COMPLETE, succeeded=2)
REPORT_RUNS = child(Component.REPORT)
REPORT_DONE = child(Component.REPORT, Outcome.COMPLETE)

PLANNING = Observed(plan=PLAN_RUNS, pods=(pod(PLAN_RUNS, "Running"),))
PLANNED = Observed(plan=PLAN_DONE, pods=(pod(PLAN_DONE, "Succeeded", json.dumps(PLAN_SAID)),))
WORKING = replace(PLANNED, work=WORK_RUNS, pods=(*PLANNED.pods, pod(WORK_RUNS, "Running", ready=True, index=0)))
WORKED = replace(PLANNED, work=WORK_DONE)
REPORTING = replace(WORKED, report=REPORT_RUNS, pods=(*WORKED.pods, pod(REPORT_RUNS, "Running")))


def reported(**said: Any) -> Observed:
    """The report has been written and says this."""
    text = json.dumps({**REPORT_SAID, **said})
    return replace(WORKED, report=REPORT_DONE, pods=(*WORKED.pods, pod(REPORT_DONE, "Succeeded", text)))
