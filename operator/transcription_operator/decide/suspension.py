"""`spec.suspend`, for every child alike; a queue that admits Jobs (Kueue) has the last word on the work Job."""

from __future__ import annotations

from dataclasses import replace

from transcription_api.job import TranscriptionJob
from transcription_api.names import ConditionReason, Phase
from transcription_operator.decide.actions import Action, Delete, Suspend
from transcription_operator.decide.step import Step
from transcription_operator.observed import ChildJob, Observed


def with_suspension(step: Step, job: TranscriptionJob, seen: Observed) -> Step:
    """The step, held back while the job is suspended, and with whatever resumes it after."""
    if step.verdict is not None:
        return step
    running = [child for child in seen.children if child.outcome is None and not child.deleting]
    if job.spec.suspend:
        return replace(
            step,
            phase=Phase.SUSPENDED,
            reason=ConditionReason.SUSPENDED_BY_SPEC,
            message="spec.suspend is true; set it to false to go on.",
            actions=tuple(action for child in running for action in _stop(child)),
        )
    waiting = next((child for child in running if child.suspended and child.queued), None)
    if waiting is not None:
        return replace(
            step,
            phase=Phase.SUSPENDED,
            reason=ConditionReason.SUSPENDED_BY_QUEUE,
            message=f"Job {waiting.name} waits until its queue admits it.",
        )
    resumed = tuple(Suspend(child.component, False) for child in running if child.suspended)
    return replace(step, actions=(*resumed, *step.actions))


def _stop(child: ChildJob) -> tuple[Action, ...]:
    """`suspend` of a queued Job belongs to the queue: such a Job is deleted, and made again when the job goes on."""
    if child.queued:
        return (Delete(child.component),)
    return () if child.suspended else (Suspend(child.component, True),)
