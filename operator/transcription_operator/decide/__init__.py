"""`decide(job, seen, now)`: from what was seen to what is to be done and what the status says. Pure.

The status is never read back to decide what to do next, with three exceptions that nothing else can tell: that the job
has ended, since when, and since when it is no longer suspended.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from transcription_api.conditions import is_true
from transcription_api.job import TranscriptionJob
from transcription_api.names import ConditionReason, ConditionType, Phase
from transcription_api.status import TranscriptionJobStatus
from transcription_operator.decide.actions import Action
from transcription_operator.decide.after_end import after_end
from transcription_operator.decide.deadline import deadline, seconds_left
from transcription_operator.decide.leaving import leaving
from transcription_operator.decide.planning import planning
from transcription_operator.decide.reporting import reporting
from transcription_operator.decide.status import write_status
from transcription_operator.decide.step import Policy, Step, failed
from transcription_operator.decide.suspension import with_suspension
from transcription_operator.decide.waiting import with_refused_change
from transcription_operator.decide.working import working
from transcription_operator.observed import Observed

__all__ = ["Decision", "decide", "has_ended", "invalid"]

POLICIES: tuple[Policy, ...] = (deadline, planning, working, reporting)
"""In this order; the first that has something to say decides."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, what to say, and in how many seconds to look again at the latest (None: when something changes)."""

    actions: tuple[Action, ...]
    status: TranscriptionJobStatus
    look_again: float | None = None


def decide(job: TranscriptionJob, seen: Observed, now: datetime) -> Decision:
    """One look at one job.

    Args:
        now: aware, UTC.
    """
    before = job.status or TranscriptionJobStatus()
    if seen.namespace_going:
        return Decision(leaving(seen), before)
    if has_ended(before):
        actions, look_again = after_end(job, seen, now)
        status = before.model_copy(update={"observed_generation": job.metadata.generation})
        return Decision(actions, status, look_again)
    step = with_refused_change(with_suspension(_first_step(job, seen, now), job, seen), seen)
    look_again = min((s for s in (step.look_again, seconds_left(job, seen, now)) if s is not None), default=None)
    return Decision(step.actions, write_status(before, job, seen, step, now), look_again)


def invalid(job: TranscriptionJob, faults: str, seen: Observed, now: datetime) -> Decision:
    """For a job with a fault that the API server does not see: no rule of its schema can, or it is of another version.

    What has not begun fails. What runs goes on: a release that can read it is on its way, or was here before.
    """
    before = job.status or TranscriptionJobStatus()
    message = f"The spec is not valid: {faults}"
    if seen.children:
        step = Step(phase=before.phase or Phase.PENDING, reason=ConditionReason.INVALID_SPEC, message=message)
    else:
        step = failed(ConditionReason.INVALID_SPEC, f"{message}. Correct that, delete the job and apply it again.")
    status = write_status(before, job, seen, step, now)
    # The job given is without its spec: what says something of that stays as it was.
    kept = {"plan": before.plan, "workers": before.workers, "model": before.model}
    return Decision((), status.model_copy(update=kept))


def has_ended(status: TranscriptionJobStatus | None) -> bool:
    if status is None:
        return False
    return any(is_true(status.conditions, end) for end in (ConditionType.COMPLETE, ConditionType.FAILED))


def _first_step(job: TranscriptionJob, seen: Observed, now: datetime) -> Step:
    for policy in POLICIES:
        step = policy(job, seen, now)
        if step is not None:
            return step
    raise AssertionError("reporting always decides")
