"""The status that follows from a step: phase, conditions, figures. Pure; figures that cannot be had now stay."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from transcription_api.conditions import Condition, find_condition, is_true, set_condition
from transcription_api.job import TranscriptionJob
from transcription_api.names import ConditionReason, ConditionType, Phase
from transcription_api.status import (
    MAX_FAILURES,
    FailureStatus,
    ModelStatus,
    PlanStatus,
    ProgressStatus,
    ReportStatus,
    TranscriptionJobStatus,
    WorkersStatus,
)
from transcription_operator.decide.child_outcome import summary
from transcription_operator.decide.step import Step, Verdict
from transcription_operator.observed import Observed, Outcome, Totals
from transcription_operator.said import MAX_CONDITION, count, number, text

MAX_URI = 2048
LONGEST_ETA_SECONDS = 10 * 365 * 86_400


def write_status(
    before: TranscriptionJobStatus, job: TranscriptionJob, seen: Observed, step: Step, now: datetime
) -> TranscriptionJobStatus:
    """The whole status; equal to `before` where nothing changed."""
    step = replace(step, message=text(step.message, MAX_CONDITION))
    plan = plan_status(job, seen)
    progress = _final_progress(step.summary, plan) or _live_progress(before.progress, seen.totals, plan)
    started = min((child.created for child in seen.children), default=None)
    return TranscriptionJobStatus(
        observed_generation=job.metadata.generation,
        phase=step.phase,
        conditions=_conditions(before.conditions, job, seen, step, now),
        start_time=before.start_time or (_rfc3339(started) if started else None),
        completion_time=_rfc3339(now) if step.verdict else None,
        plan=plan,
        progress=progress,
        workers=_workers(before.workers, job, seen, step),
        failures=_failures(step.summary) or _live_failures(seen.totals) or before.failures,
        report=_report(step.summary) or before.report,
        model=ModelStatus(
            name=_model_name(job),
            digest=(seen.totals.model_digest if seen.totals else None)
            or (before.model.digest if before.model else None),
        ),
    )


def plan_status(job: TranscriptionJob, seen: Observed) -> PlanStatus | None:
    """What the plan holds: from its pod's last words, or as it was said before the pod went away."""
    before = job.status.plan if job.status else None
    said = summary(seen.plan, seen) if seen.plan is not None and seen.plan.outcome is Outcome.COMPLETE else None
    if said is None:
        return before
    job_id = f"{job.metadata.name}-{(job.metadata.uid or '')[:8]}"
    return PlanStatus(
        recordings=count(said, "recordings"),
        ignored=count(said, "ignored"),
        bytes=count(said, "total_bytes"),
        shards=count(said, "shards"),
        conditional_writes=said.get("conditional_writes") is not False,
        uri=f"{job.spec.output.uri.rstrip('/')}/_transcription/{job_id}/plan/",
    )


@dataclass
class _Conditions:
    """The conditions while they are being written."""

    standing: tuple[Condition, ...]
    now: str
    generation: int | None

    def set(self, kind: ConditionType, holds: bool, reason: ConditionReason, message: str) -> None:
        self.standing = set_condition(
            self.standing, kind, holds=holds, reason=reason, message=message, now=self.now, generation=self.generation
        )


def _conditions(
    before: tuple[Condition, ...], job: TranscriptionJob, seen: Observed, step: Step, now: datetime
) -> tuple[Condition, ...]:
    conditions = _Conditions(before, _rfc3339(now), job.metadata.generation)
    plan = plan_status(job, seen)
    planned = seen.work is not None or seen.report is not None
    if planned or (seen.plan is not None and seen.plan.outcome is Outcome.COMPLETE):
        found = f"{plan.recordings} recordings in {plan.shards} shards, {plan.ignored} objects ignored." if plan else ""
        conditions.set(ConditionType.PLANNED, True, ConditionReason.PLAN_WRITTEN, found or "The plan stands.")
    elif not is_true(before, ConditionType.PLANNED) or step.verdict:
        conditions.set(ConditionType.PLANNED, False, _planned_reason(step), step.message)
    if step.phase is Phase.SUSPENDED:
        conditions.set(ConditionType.SUSPENDED, True, step.reason, step.message)
    elif find_condition(before, ConditionType.SUSPENDED) is not None:
        conditions.set(ConditionType.SUSPENDED, False, ConditionReason.RESUMED, "The job goes on.")
    conditions.set(ConditionType.COMPLETE, step.verdict is Verdict.COMPLETE, step.reason, step.message)
    if step.verdict is Verdict.FAILED:
        conditions.set(ConditionType.FAILED, True, step.reason, step.message)
    return conditions.standing


def _planned_reason(step: Step) -> ConditionReason:
    return step.reason if step.verdict else ConditionReason.PLANNING


def _workers(before: WorkersStatus | None, job: TranscriptionJob, seen: Observed, step: Step) -> WorkersStatus | None:
    work = seen.work
    if work is None:
        return before
    if step.verdict:
        return WorkersStatus(
            desired=job.spec.workers.replicas,
            succeeded=work.succeeded,
            failed=work.failed,
            summary=f"0/{job.spec.workers.replicas}",
        )
    return WorkersStatus(
        desired=job.spec.workers.replicas,
        active=work.active,
        ready=work.ready,
        succeeded=work.succeeded,
        failed=work.failed,
        summary=f"{work.ready}/{job.spec.workers.replicas}",
    )


def _live_progress(
    before: ProgressStatus | None, totals: Totals | None, plan: PlanStatus | None
) -> ProgressStatus | None:
    if totals is None:  # nobody works now, or nobody answers
        if before is not None:
            return before.model_copy(update={"speed": None, "eta_seconds": None, "eta": ""})
        return ProgressStatus(summary=f"0/{plan.recordings}") if plan is not None else None
    planned = plan.recordings if plan else totals.recordings
    settled = min(totals.settled, planned) if planned else totals.settled
    if before is not None and settled < before.done + before.skipped + before.failed:
        return before  # a worker died: what it had settled is found again by its successor
    eta = _eta_seconds(totals)
    return ProgressStatus(
        summary=f"{settled}/{planned}",
        done=totals.done,
        skipped=totals.skipped,
        failed=totals.failed,
        audio_seconds=round(totals.audio_seconds, 1),
        speed=_three_digits(totals.speed),
        eta_seconds=eta,
        eta=duration(eta) if eta is not None else "",
    )


def _eta_seconds(totals: Totals) -> int | None:
    """By bytes: recordings are worked largest first, so that those left are smaller than those done."""
    if not totals.speed or not totals.bytes or not totals.total_bytes:
        return None
    left = max(0, totals.total_bytes - totals.bytes) / totals.bytes * totals.audio_seconds
    seconds = left / totals.speed
    return round(seconds) if seconds < LONGEST_ETA_SECONDS else None


def _final_progress(said: dict[str, Any], plan: PlanStatus | None) -> ProgressStatus | None:
    if not said:
        return None
    done, skipped, failed = count(said, "done"), count(said, "skipped"), count(said, "failed")
    planned = count(said, "planned") or (plan.recordings if plan else 0)
    return ProgressStatus(
        summary=f"{done + skipped + failed}/{planned}",
        done=done,
        skipped=skipped,
        failed=failed,
        audio_seconds=round(number(said, "audio_seconds") or 0.0, 1),
        speed=_three_digits(number(said, "speed")),
    )


def _report(said: dict[str, Any]) -> ReportStatus | None:
    uri = text(said.get("report"), MAX_URI)
    if not uri:
        return None
    return ReportStatus(
        uri=uri,
        done=count(said, "done"),
        skipped=count(said, "skipped"),
        failed=count(said, "failed"),
        audio_seconds=round(number(said, "audio_seconds") or 0.0, 1),
    )


def _failures(said: dict[str, Any]) -> tuple[FailureStatus, ...]:
    listed = said.get("failures")
    if not isinstance(listed, list):
        return ()
    rows = (row for row in listed if isinstance(row, dict))
    return tuple(_failure(row.get("key"), row.get("reason"), row.get("message")) for row in rows)[:MAX_FAILURES]


def _live_failures(totals: Totals | None) -> tuple[FailureStatus, ...]:
    return tuple(_failure(*failure) for failure in totals.failures[:MAX_FAILURES]) if totals else ()


def _failure(key: object, reason: object, message: object) -> FailureStatus:
    return FailureStatus(key=text(key), reason=text(reason, 64), message=text(message))


def _model_name(job: TranscriptionJob) -> str:
    model = job.spec.model
    return f"{model.volume.claim_name}/{model.volume.path}" if model.volume else str(model.name or model.uri)


def _three_digits(value: float | None) -> float | None:
    return None if value is None else float(f"{max(0.0, value):.3g}")


def duration(seconds: int) -> str:
    """`1h20m`, `3m5s`, `12s`: the two largest units."""
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [f"{value}{unit}" for value, unit in ((days, "d"), (hours, "h"), (minutes, "m"), (rest, "s")) if value]
    return "".join(parts[:2]) or "0s"


def _rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
