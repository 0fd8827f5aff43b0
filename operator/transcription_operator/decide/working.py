"""Second step: the work Job, from its creation until every shard has its ledger or no worker is left.

The ledger decides, not the pods: whatever became of the workers, the report says what is missing.
"""

from __future__ import annotations

from datetime import datetime

from transcription_api.job import TranscriptionJob
from transcription_api.names import Component, ConditionReason, Phase
from transcription_operator.decide.actions import Action, Create, Scale
from transcription_operator.decide.child_outcome import (
    POD_FAILURE_POLICY,
    listening,
    sentence,
    unheard,
)
from transcription_operator.decide.status import plan_status
from transcription_operator.decide.step import Step, failed
from transcription_operator.decide.waiting import obstacle, refused
from transcription_operator.observed import ChildJob, Observed, Outcome

LAGGARD_SECONDS = 60.0
"""A worker that ends well has seen every ledger: after so long nobody waits for those that are frozen or cut off."""


def working(job: TranscriptionJob, seen: Observed, now: datetime) -> Step | None:
    """None once the work is done and the report is due."""
    if seen.report is not None:
        return None
    work = seen.work
    if work is None or work.deleting:
        return refused(seen, Component.WORK, Phase.RUNNING) or Step(
            phase=Phase.RUNNING,
            reason=ConditionReason.RUNNING,
            message="The work Job is being made.",
            actions=(Create(Component.WORK),) if work is None else (),
        )
    if work.outcome is None:
        return _running(job, work, seen, now)
    if work.outcome is Outcome.FAILED and work.reason == POD_FAILURE_POLICY:
        if wait := unheard(work, seen, now):
            return listening(Phase.RUNNING, ConditionReason.RUNNING, work, wait)
        return failed(ConditionReason.CONFIGURATION, sentence(work, seen))
    return None


def shares_freely(job: TranscriptionJob, seen: Observed) -> bool:
    """Whether workers claim shards; on a store without conditional writes the split by index is fixed."""
    plan = plan_status(job, seen)
    return plan is not None and plan.conditional_writes


def _running(job: TranscriptionJob, work: ChildJob, seen: Observed, now: datetime) -> Step | None:
    look_again = None
    if shares_freely(job, seen) and (success := _first_success(work, seen)):
        look_again = LAGGARD_SECONDS - (now - success).total_seconds()
        if look_again <= 0:
            return None
    actions: tuple[Action, ...] = ()
    wanted, message = job.spec.workers.replicas, "Workers are transcribing."
    if work.parallelism != wanted and shares_freely(job, seen):
        actions = (Scale(wanted),)
    elif work.parallelism != wanted:
        message += f" They stay {work.parallelism}: without conditional writes the plan is split for so many."
    blocked = obstacle(work, seen)
    if work.ready == 0 and blocked:
        return Step(phase=Phase.RUNNING, reason=ConditionReason.POD_BLOCKED, message=blocked, actions=actions)
    return Step(
        phase=Phase.RUNNING,
        reason=ConditionReason.RUNNING,
        message=f"{message} Others wait: {blocked}" if blocked else message,
        actions=actions,
        look_again=look_again,
    )


def _first_success(work: ChildJob, seen: Observed) -> datetime | None:
    times = [pod.ended.at for pod in seen.pods_of(work) if pod.phase == "Succeeded" and pod.ended and pod.ended.at]
    return min(times, default=None)
