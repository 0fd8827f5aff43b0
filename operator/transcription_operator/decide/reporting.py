"""Last step: the report Job, and the verdict that its summary leads to."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from transcription_api.job import TranscriptionJob
from transcription_api.names import Component, ConditionReason, Phase
from transcription_operator.decide.actions import Create, Delete
from transcription_operator.decide.child_outcome import (
    failure_reason,
    last_words,
    listening,
    sentence,
    summary,
    unheard,
)
from transcription_operator.decide.step import Step, Verdict, failed
from transcription_operator.decide.waiting import obstacle, refused
from transcription_operator.observed import Observed, Outcome
from transcription_operator.said import count, text


def reporting(job: TranscriptionJob, seen: Observed, now: datetime) -> Step | None:
    report = seen.report
    if report is None or report.deleting:
        return refused(seen, Component.REPORT, Phase.REPORTING) or Step(
            phase=Phase.REPORTING,
            reason=ConditionReason.REPORTING,
            message="The report Job is being made.",
            actions=(Create(Component.REPORT),) if report is None else (),
        )
    if report.outcome is None:
        blocked = obstacle(report, seen)
        return Step(
            phase=Phase.REPORTING,
            reason=ConditionReason.POD_BLOCKED if blocked else ConditionReason.REPORTING,
            message=blocked or "The report is being written.",
        )
    if wait := unheard(report, seen, now):
        return listening(Phase.REPORTING, ConditionReason.REPORTING, report, wait)
    if report.outcome is Outcome.FAILED:
        return failed(failure_reason(report, ConditionReason.REPORT_FAILED), sentence(report, seen))
    said = summary(report, seen)
    if said is not None and "planned" in said:
        return judge(job, said, seen)
    if last_words(report, seen) is None:  # its pod was deleted before it was heard: the report will say the same again
        return Step(
            phase=Phase.REPORTING,
            reason=ConditionReason.REPORTING,
            message="The report is being written again, for its summary was lost.",
            actions=(Delete(Component.REPORT),),
        )
    return failed(
        ConditionReason.REPORT_FAILED,
        f"Job {report.name} ended well without a summary: spec.workers.image is no worker of this release; leave it "
        "out or name one that is, then delete the job and apply it again.",
    )


def _last(seen: Observed) -> str:
    if seen.work is None or seen.work.outcome is not Outcome.FAILED:
        return ""
    return f"The last one said: {text(sentence(seen.work, seen)).rstrip('.')}. "


def judge(job: TranscriptionJob, said: dict[str, Any], seen: Observed) -> Step:
    """The verdict that follows from the report's figures."""
    planned, missing, lost = count(said, "planned"), count(said, "missing"), count(said, "failed")
    if missing:
        return failed(
            ConditionReason.WORKERS_LOST,
            f"{missing} of {planned} recordings have no outcome, for every worker used up its attempts. {_last(seen)}"
            "Delete the job and apply it again: it does only what is missing.",
            summary=said,
        )
    if not job.spec.failure_policy.allows(lost, planned):
        return failed(
            ConditionReason.TOO_MANY_FAILED_RECORDINGS,
            f"{lost} of {planned} recordings failed, more than spec.failurePolicy.maxFailedRecordings "
            f"({job.spec.failure_policy.max_failed_recordings}) allows; the report says why each did.",
            summary=said,
        )
    reason = ConditionReason.COMPLETED_WITH_FAILURES if lost else ConditionReason.COMPLETED
    message = f"{planned - lost} of {planned} recordings have their transcript."
    return Step(phase=Phase.SUCCEEDED, reason=reason, message=message, verdict=Verdict.COMPLETE, summary=said)
