"""A job that has ended: what is still running is stopped, and `ttlSecondsAfterFinished` is kept."""

from __future__ import annotations

from datetime import datetime

from transcription_api.job import TranscriptionJob
from transcription_operator.decide.actions import Action, Delete, DeleteSelf
from transcription_operator.observe import parse_time
from transcription_operator.observed import Observed


def after_end(job: TranscriptionJob, seen: Observed, now: datetime) -> tuple[tuple[Action, ...], float | None]:
    """What is left to do, and in how many seconds to look again."""
    ttl = job.spec.ttl_seconds_after_finished
    ended = job.status.completion_time if job.status else None
    if ttl is not None and ended is not None:
        left = ttl - (now - parse_time(ended)).total_seconds()
        if left <= 0:
            return (DeleteSelf(),), None
    else:
        left = None
    return tuple(
        Delete(child.component) for child in seen.children if child.outcome is None and not child.deleting
    ), left
