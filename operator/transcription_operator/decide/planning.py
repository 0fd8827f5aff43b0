"""First step: the plan Job, from its creation to the plan in the bucket."""

from __future__ import annotations

from datetime import datetime

from transcription_api.job import TranscriptionJob
from transcription_api.names import Component, ConditionReason, Phase
from transcription_operator.decide.actions import Create
from transcription_operator.decide.child_outcome import failure_reason, listening, sentence, unheard
from transcription_operator.decide.step import Step, failed
from transcription_operator.decide.waiting import obstacle, refused
from transcription_operator.observed import Observed, Outcome


def planning(job: TranscriptionJob, seen: Observed, now: datetime) -> Step | None:
    """None once the plan stands; later children prove that too, should the plan Job have been deleted by hand."""
    if seen.work is not None or seen.report is not None:
        return None
    plan = seen.plan
    if plan is None or plan.deleting:
        return refused(seen, Component.PLAN, Phase.PENDING) or Step(
            phase=Phase.PENDING,
            reason=ConditionReason.PLANNING,
            message="The plan Job is being made.",
            actions=(Create(Component.PLAN),) if plan is None else (),
        )
    if plan.outcome is None:
        return _running(seen)
    if wait := unheard(plan, seen, now):
        return listening(Phase.PLANNING, ConditionReason.PLANNING, plan, wait)
    if plan.outcome is Outcome.FAILED:
        return failed(failure_reason(plan, ConditionReason.PLAN_FAILED), sentence(plan, seen))
    return None


def _running(seen: Observed) -> Step:
    assert seen.plan is not None
    if blocked := obstacle(seen.plan, seen):
        return Step(phase=Phase.PENDING, reason=ConditionReason.POD_BLOCKED, message=blocked)
    return Step(phase=Phase.PLANNING, reason=ConditionReason.PLANNING, message="The input is being listed.")
