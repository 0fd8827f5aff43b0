"""`decide`: one row per situation that a job can be seen in."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.operator_scenes import (
    NOW,
    PLAN_DONE,
    PLAN_RUNS,
    PLAN_SAID,
    PLANNED,
    PLANNING,
    REPORT_DONE,
    REPORTING,
    WORK_DONE,
    WORK_RUNS,
    WORKED,
    WORKING,
    child,
    job,
    pod,
    reported,
)
from transcription_api.conditions import find_condition, is_true
from transcription_api.names import LABEL_QUEUE_NAME, Component, ConditionReason, ConditionType, Phase
from transcription_operator.decide import decide, has_ended, invalid
from transcription_operator.decide.actions import Create, Delete, DeleteSelf, Scale, Suspend
from transcription_operator.decide.working import LAGGARD_SECONDS
from transcription_operator.observed import Observed, Outcome, Refusal, Totals

R = ConditionReason
PLAN, WORK, REPORT = Component.PLAN, Component.WORK, Component.REPORT
QUEUED = {LABEL_QUEUE_NAME: "gpus"}

plan_failed = child(PLAN, Outcome.FAILED, reason="BackoffLimitExceeded", message="backoff limit")
plan_refused = child(PLAN, Outcome.FAILED, reason="PodFailurePolicy")
work_lost = child(WORK, Outcome.FAILED, reason="FailedIndexes", failed=1, succeeded=1)
work_refused = child(WORK, Outcome.FAILED, reason="PodFailurePolicy")
report_failed = child(REPORT, Outcome.FAILED, reason="BackoffLimitExceeded")
just_now: dict[str, Any] = {"ended": NOW - timedelta(seconds=1)}


def with_pod(seen, which, *args, **fields):
    return replace(seen, pods=(*seen.pods, pod(which, *args, **fields)))


UNCHANGED = Refusal(WORK, "Job calls-work may not be changed: policy", final=False)

CASES = {
    "new": (job(), Observed(), Phase.PENDING, R.PLANNING, (Create(PLAN),)),
    "plan pod not there yet": (job(), Observed(plan=PLAN_RUNS), Phase.PLANNING, R.PLANNING, ()),
    "planning": (job(), PLANNING, Phase.PLANNING, R.PLANNING, ()),
    "plan pod lacks its secret": (
        job(),
        with_pod(Observed(plan=PLAN_RUNS), PLAN_RUNS, "Pending", blocked='secret "s3" not found'),
        Phase.PENDING,
        R.POD_BLOCKED,
        (),
    ),
    "plan pods are refused": (
        job(),
        Observed(plan=PLAN_RUNS, trouble="exceeded quota"),
        Phase.PENDING,
        R.POD_BLOCKED,
        (),
    ),
    "plan Job is being deleted": (
        job(),
        Observed(plan=replace(PLAN_RUNS, deleting=True)),
        Phase.PENDING,
        R.PLANNING,
        (),
    ),
    "plan ended, its pod is not seen yet": (
        job(),
        Observed(plan=replace(PLAN_DONE, **just_now)),
        Phase.PLANNING,
        R.PLANNING,
        (),
    ),
    "plan ended long ago, its pod is gone": (
        job(),
        Observed(plan=PLAN_DONE),
        Phase.RUNNING,
        R.RUNNING,
        (Create(WORK),),
    ),
    "plan failed": (
        job(),
        with_pod(Observed(plan=plan_failed), plan_failed, "Failed", "Bucket x is away.", 75),
        Phase.FAILED,
        R.PLAN_FAILED,
        (),
    ),
    "plan says configuration": (
        job(),
        with_pod(Observed(plan=plan_refused), plan_refused, "Failed", "No such bucket: x.", 78),
        Phase.FAILED,
        R.CONFIGURATION,
        (),
    ),
    "planned": (job(), PLANNED, Phase.RUNNING, R.RUNNING, (Create(WORK),)),
    "API server refuses the work Job for good": (
        job(),
        replace(PLANNED, refusal=Refusal(WORK, "invalid volume", final=True)),
        Phase.FAILED,
        R.CONFIGURATION,
        (),
    ),
    "API server refuses the work Job for now": (
        job(),
        replace(PLANNED, refusal=Refusal(WORK, "exceeded quota", final=False)),
        Phase.RUNNING,
        R.REFUSED,
        (Create(WORK),),
    ),
    "working": (job(), WORKING, Phase.RUNNING, R.RUNNING, ()),
    "working, plan Job deleted by hand": (job(), replace(WORKING, plan=None), Phase.RUNNING, R.RUNNING, ()),
    "workers wait for a GPU": (
        job(),
        with_pod(replace(PLANNED, work=replace(WORK_RUNS, ready=0)), WORK_RUNS, "Pending", blocked="no node"),
        Phase.RUNNING,
        R.POD_BLOCKED,
        (),
    ),
    "one worker waits, another works": (
        job(),
        with_pod(replace(WORKING, work=replace(WORK_RUNS, ready=1)), WORK_RUNS, "Pending", blocked="no node"),
        Phase.RUNNING,
        R.RUNNING,
        (),
    ),
    "scaled up": (job(workers={"replicas": 5}), WORKING, Phase.RUNNING, R.RUNNING, (Scale(5),)),
    "scaled down": (job(workers={"replicas": 1}), WORKING, Phase.RUNNING, R.RUNNING, (Scale(1),)),
    "a fixed split is not scaled": (
        job(workers={"replicas": 5}),
        replace(
            WORKING,
            pods=(pod(PLAN_DONE, "Succeeded", json.dumps({**PLAN_SAID, "conditional_writes": False})),),
        ),
        Phase.RUNNING,
        R.RUNNING,
        (),
    ),
    "a worker saw every ledger, another still runs": (
        job(),
        with_pod(WORKING, WORK_RUNS, "Succeeded", ago=LAGGARD_SECONDS - 1),
        Phase.RUNNING,
        R.RUNNING,
        (),
    ),
    "a frozen worker is not waited for": (
        job(),
        with_pod(WORKING, WORK_RUNS, "Succeeded", ago=LAGGARD_SECONDS + 1),
        Phase.REPORTING,
        R.REPORTING,
        (Create(REPORT),),
    ),
    "a fixed split waits for every worker": (
        job(),
        with_pod(
            replace(
                WORKING, pods=(pod(PLAN_DONE, "Succeeded", json.dumps({**PLAN_SAID, "conditional_writes": False})),)
            ),
            WORK_RUNS,
            "Succeeded",
            ago=LAGGARD_SECONDS + 1,
        ),
        Phase.RUNNING,
        R.RUNNING,
        (),
    ),
    "a worker says configuration": (
        job(),
        with_pod(replace(PLANNED, work=work_refused), work_refused, "Failed", "The model is no .nemo.", 78),
        Phase.FAILED,
        R.CONFIGURATION,
        (),
    ),
    "some workers lost, the ledger decides": (
        job(),
        replace(PLANNED, work=work_lost),
        Phase.REPORTING,
        R.REPORTING,
        (Create(REPORT),),
    ),
    "worked": (job(), WORKED, Phase.REPORTING, R.REPORTING, (Create(REPORT),)),
    "reporting": (job(), REPORTING, Phase.REPORTING, R.REPORTING, ()),
    "report failed": (
        job(),
        with_pod(replace(WORKED, report=report_failed), report_failed, "Failed", "S3 is away.", 75),
        Phase.FAILED,
        R.REPORT_FAILED,
        (),
    ),
    "report's summary lost": (
        job(),
        replace(WORKED, report=REPORT_DONE),
        Phase.REPORTING,
        R.REPORTING,
        (Delete(REPORT),),
    ),
    "report says nothing that can be read": (
        job(),
        with_pod(replace(WORKED, report=REPORT_DONE), REPORT_DONE, "Succeeded", "{"),
        Phase.FAILED,
        R.REPORT_FAILED,
        (),
    ),
    "report says something else": (
        job(),
        with_pod(replace(WORKED, report=REPORT_DONE), REPORT_DONE, "Succeeded", "{}"),
        Phase.FAILED,
        R.REPORT_FAILED,
        (),
    ),
    "all done": (job(), reported(), Phase.SUCCEEDED, R.COMPLETED, ()),
    "some failed": (job(), reported(done=7, failed=1), Phase.SUCCEEDED, R.COMPLETED_WITH_FAILURES, ()),
    "too many failed": (job(), reported(done=6, failed=2), Phase.FAILED, R.TOO_MANY_FAILED_RECORDINGS, ()),
    "some without outcome": (job(), reported(done=5, missing=3), Phase.FAILED, R.WORKERS_LOST, ()),
    "suspended from the start": (job(suspend=True), Observed(), Phase.SUSPENDED, R.SUSPENDED_BY_SPEC, ()),
    "suspended while planning": (
        job(suspend=True),
        PLANNING,
        Phase.SUSPENDED,
        R.SUSPENDED_BY_SPEC,
        (Suspend(PLAN, True),),
    ),
    "suspended between plan and work": (job(suspend=True), PLANNED, Phase.SUSPENDED, R.SUSPENDED_BY_SPEC, ()),
    "suspended while working": (
        job(suspend=True),
        WORKING,
        Phase.SUSPENDED,
        R.SUSPENDED_BY_SPEC,
        (Suspend(WORK, True),),
    ),
    "suspended already": (
        job(suspend=True),
        replace(WORKING, work=replace(WORK_RUNS, suspended=True)),
        Phase.SUSPENDED,
        R.SUSPENDED_BY_SPEC,
        (),
    ),
    "a policy lets nobody suspend it": (
        job(suspend=True),
        replace(WORKING, refusal=UNCHANGED),
        Phase.RUNNING,
        R.REFUSED,
        (Suspend(WORK, True),),
    ),
    "a policy lets nobody resume it": (
        job(),
        replace(WORKING, work=replace(WORK_RUNS, suspended=True), refusal=UNCHANGED),
        Phase.SUSPENDED,
        R.REFUSED,
        (Suspend(WORK, False),),
    ),
    "a policy lets nobody scale it": (
        job(workers={"replicas": 5}),
        replace(WORKING, refusal=UNCHANGED),
        Phase.RUNNING,
        R.REFUSED,
        (Scale(5),),
    ),
    "resumed": (
        job(),
        replace(WORKING, work=replace(WORK_RUNS, suspended=True)),
        Phase.RUNNING,
        R.RUNNING,
        (Suspend(WORK, False),),
    ),
    "suspended when all was done": (job(suspend=True), reported(), Phase.SUCCEEDED, R.COMPLETED, ()),
    "queue has not admitted it": (
        job(labels=QUEUED),
        replace(WORKING, work=replace(WORK_RUNS, suspended=True, queued=True)),
        Phase.SUSPENDED,
        R.SUSPENDED_BY_QUEUE,
        (),
    ),
    "suspended with a queue": (
        job(suspend=True, labels=QUEUED),
        replace(WORKING, work=replace(WORK_RUNS, queued=True)),
        Phase.SUSPENDED,
        R.SUSPENDED_BY_SPEC,
        (Delete(WORK),),
    ),
    "before the deadline": (job(activeDeadlineSeconds=61), PLANNING, Phase.PLANNING, R.PLANNING, ()),
    "deadline": (job(activeDeadlineSeconds=60), WORKING, Phase.FAILED, R.DEADLINE_EXCEEDED, ()),
    "no deadline while suspended": (
        job(activeDeadlineSeconds=60, suspend=True),
        replace(WORKING, work=replace(WORK_RUNS, suspended=True)),
        Phase.SUSPENDED,
        R.SUSPENDED_BY_SPEC,
        (),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_situation(case):
    given, seen, phase, reason, actions = case
    decision = decide(given, seen, NOW)
    complete = find_condition(decision.status.conditions, ConditionType.COMPLETE)
    assert (decision.status.phase, complete.reason, decision.actions) == (phase, reason, actions)
    assert (complete.status == "True") == (phase is Phase.SUCCEEDED)
    failed = find_condition(decision.status.conditions, ConditionType.FAILED)
    assert (failed is not None and failed.status == "True") == (phase is Phase.FAILED)
    assert has_ended(decision.status) == (phase in (Phase.SUCCEEDED, Phase.FAILED))
    assert (decision.status.completion_time is not None) == has_ended(decision.status)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_second_look_at_the_same_situation_changes_no_status(case):
    """What follows a status in the API server is the same status: no patch, no event, however often one looks."""
    given, seen, *_ = case
    once = decide(given, seen, NOW).status
    later = given.model_copy(update={"status": once})
    assert decide(later, seen, NOW).status == once


def test_what_the_pod_said_last_is_the_message():
    given, seen, *_ = CASES["plan says configuration"]
    failed = find_condition(decide(given, seen, NOW).status.conditions, ConditionType.FAILED)
    assert failed.message == "No such bucket: x."


def test_of_several_pods_the_one_that_ended_the_job_speaks():
    words = (
        pod(work_refused, "Failed", "killed for memory", 137, name="a", uid="a", ago=1),
        pod(work_refused, "Failed", "The model is no .nemo.", 78, name="b", uid="b", ago=5),
    )
    seen = replace(PLANNED, work=work_refused, pods=(*PLANNED.pods, *words))
    assert find_condition(decide(job(), seen, NOW).status.conditions, ConditionType.FAILED).message == (
        "The model is no .nemo."
    )


def test_a_pod_without_words_is_named_with_its_exit_code():
    seen = Observed(plan=plan_failed, pods=(pod(plan_failed, "Failed", "", 137),))
    failed = find_condition(decide(job(), seen, NOW).status.conditions, ConditionType.FAILED)
    assert failed.message == "Container plan of pod calls-plan-x1y2z ended with exit code 137."


def test_what_the_log_did_last_is_no_reason_and_what_the_runtime_wrote_is():
    log = '2026-11-24 19:19:01,123 INFO transcription_worker.progress: done "a.wav" audio=3.9s'
    failed = find_condition(decide(job(), failed_plan(log, 139), NOW).status.conditions, ConditionType.FAILED)
    assert failed.message == "Container plan of pod calls-plan-x1y2z ended with exit code 139."
    crashed = decide(job(), failed_plan(f"{log}\nexec: no such file", 127), NOW)
    assert find_condition(crashed.status.conditions, ConditionType.FAILED).message == "exec: no such file"


@pytest.mark.parametrize(
    ("killed", "mend"),
    [
        (plan_failed, "raise worker.controlResources.limits.memory"),
        (report_failed, "raise worker.controlResources.limits.memory"),
        (work_refused, "raise spec.workers.resources.limits.memory"),
    ],
)
def test_a_container_that_was_killed_for_its_memory_says_what_to_raise(killed, mend):
    words = pod(killed, "Failed", "2026-11-24 19:19:01,123 INFO transcription_worker: x", 137, reason="OOMKilled")
    seen = replace(PLANNED, pods=(*PLANNED.pods, words), **{killed.component.value: killed})
    failed = find_condition(decide(job(), seen, NOW).status.conditions, ConditionType.FAILED)
    assert "was killed for lack of memory" in failed.message and mend in failed.message


def failed_plan(message, exit_code):
    return Observed(plan=plan_failed, pods=(pod(plan_failed, "Failed", message, exit_code),))


ENDED = decide(job(), reported(), NOW).status


def test_an_ended_job_is_not_done_again_when_its_children_are_deleted():
    decision = decide(job(status=ENDED), Observed(), NOW)
    assert decision.actions == () and decision.status == ENDED


def test_what_still_runs_when_a_job_ended_is_stopped():
    frozen = replace(reported(), work=WORK_RUNS)
    assert decide(job(status=ENDED), frozen, NOW).actions == (Delete(WORK),)


@pytest.mark.parametrize(("age", "actions", "left"), [(59, (), 1.0), (60, (DeleteSelf(),), None)])
def test_ttl(age, actions, left):
    given = job(status=ENDED, ttlSecondsAfterFinished=60)
    decision = decide(given, reported(), NOW + timedelta(seconds=age))
    assert (decision.actions, decision.look_again) == (actions, left)


def test_the_deadlines_clock_starts_anew_when_a_job_goes_on():
    suspended = decide(job(suspend=True), WORKING, NOW).status
    resumed = decide(job(status=suspended), WORKING, NOW).status
    given = job(status=resumed, activeDeadlineSeconds=30)
    assert decide(given, WORKING, NOW + timedelta(seconds=29)).look_again == 1.0
    assert decide(given, WORKING, NOW + timedelta(seconds=30)).status.phase is Phase.FAILED


def test_a_condition_keeps_the_time_of_its_last_change():
    first = decide(job(), PLANNED, NOW).status
    second = decide(job(status=first), WORKING, NOW + timedelta(minutes=5)).status
    before, after = (find_condition(s.conditions, ConditionType.PLANNED) for s in (first, second))
    assert before.last_transition_time == after.last_transition_time


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("working", "Workers are transcribing."),
        ("one worker waits, another works", "Workers are transcribing. Others wait: no node"),
        (
            "a fixed split is not scaled",
            "Workers are transcribing. They stay 2: without conditional writes the plan is split for so many.",
        ),
    ],
)
def test_why_fewer_work_than_were_asked_for_is_said(case, message):
    given, seen, *_ = CASES[case]
    complete = find_condition(decide(given, seen, NOW).status.conditions, ConditionType.COMPLETE)
    assert complete.message == message


def test_what_is_planned_says_what_happens_now_and_not_what_was_first():
    first = decide(job(suspend=True), Observed(), NOW).status
    second = decide(job(status=first), PLANNING, NOW).status
    planned = find_condition(second.conditions, ConditionType.PLANNED)
    assert (planned.status, planned.message) == ("False", "The input is being listed.")
    third = decide(job(status=decide(job(status=second), PLANNED, NOW).status), Observed(), NOW).status
    assert is_true(third.conditions, ConditionType.PLANNED), "a plan that stood once stands"


def test_after_a_deadline_it_says_that_a_job_is_not_changed_but_made_anew():
    """`kubectl apply` of an ended job does nothing, and another deadline is refused."""
    status = decide(job(activeDeadlineSeconds=60), WORKING, NOW).status
    assert "delete the job and apply it again" in find_condition(status.conditions, ConditionType.FAILED).message


def test_figures_of_the_plan_outlive_its_pod():
    first = decide(job(), PLANNED, NOW).status
    second = decide(job(status=first), replace(WORKING, plan=None, pods=()), NOW).status
    assert second.plan == first.plan and first.plan.recordings == 10


def test_live_progress():
    totals = Totals(
        done=3, skipped=1, failed=1, audio_seconds=300.0, bytes=300, total_bytes=800, speed=50.04, model_digest="x"
    )
    status = decide(job(), replace(WORKING, totals=totals), NOW).status
    assert status.progress.summary == "5/10"
    assert (status.progress.speed, status.progress.eta, status.model.digest) == (50.0, "10s", "x")


def test_progress_does_not_go_back_when_a_worker_dies():
    first = decide(job(), replace(WORKING, totals=Totals(done=5)), NOW).status
    second = decide(job(status=first), replace(WORKING, totals=Totals(done=3)), NOW).status
    assert second.progress == first.progress


def test_progress_never_exceeds_the_plan():
    status = decide(job(), replace(WORKING, totals=Totals(done=12)), NOW).status
    assert status.progress.summary == "10/10"


def test_the_reports_figures_are_the_last_word():
    first = decide(job(), replace(WORKING, totals=Totals(done=10)), NOW).status
    failures = [{"key": "a.wav", "reason": "Truncated", "message": "It ends early."}]
    status = decide(job(status=first), reported(done=7, failed=1, failures=failures), NOW).status
    assert (status.progress.done, status.progress.failed, status.progress.summary) == (7, 1, "10/10")
    assert [f.key for f in status.failures] == ["a.wav"]
    assert status.report.uri.endswith("index.html")


@pytest.mark.parametrize(
    "said",
    [
        {"failures": "x"},
        {"failures": [3, {"key": None}]},
        {"done": "many"},
        {"speed": []},
        {"report": 3},
        {"speed": 10**400, "done": 10**400, "failed": -1},
        {"speed": float("inf"), "audio_seconds": float("nan")},
    ],
)
def test_a_summary_of_another_kind_breaks_nothing(said):
    status = decide(job(), reported(**said), NOW).status
    assert has_ended(status)
    json.dumps(status.model_dump(mode="json"), allow_nan=False)


def test_a_spec_of_another_release_fails_with_its_faults():
    status = invalid(job(), "spec.model: unknown", Observed(), NOW).status
    failed = find_condition(status.conditions, ConditionType.FAILED)
    assert failed.reason == R.INVALID_SPEC and "spec.model: unknown" in failed.message
    assert failed.message.endswith(". Correct that, delete the job and apply it again.")
    assert status.model is None, "nobody knows which"


def test_a_job_that_runs_outlives_a_release_that_cannot_read_it():
    """The operator may be rolled back under a newer definition for a while."""
    before = decide(job(workers={"replicas": 4}), WORKING, NOW).status
    unread = job(status=before, model={"name": "none"}, output={"uri": "s3://unreadable/"})
    decision = invalid(unread, "spec.model: unknown", WORKING, NOW)
    assert (decision.status.model, decision.status.workers, decision.status.plan) == (
        before.model,
        before.workers,
        before.plan,
    )
    complete = find_condition(decision.status.conditions, ConditionType.COMPLETE)
    assert (decision.actions, complete.reason, complete.status) == ((), R.INVALID_SPEC, "False")
    assert not has_ended(decision.status)


def test_a_plan_that_was_never_heard_stops_no_pass():
    """Its pod was deleted while the operator was away; then the workers say how much there is."""
    seen = replace(
        WORKING, plan=None, pods=(), totals=Totals(done=5, recordings=10, bytes=5, total_bytes=10, speed=1.0)
    )
    assert decide(job(), seen, NOW).status.progress.summary == "5/10"
    late = replace(seen, totals=Totals(done=25, bytes=25, total_bytes=10, audio_seconds=1e9, speed=1e-300))
    assert decide(job(activeDeadlineSeconds=60), late, NOW).status.phase is Phase.FAILED


def test_without_a_plan_heard_no_worker_is_given_up_and_none_is_scaled():
    """The split may be fixed: a worker whose shards nobody else does must not be taken for a laggard."""
    seen = with_pod(replace(WORKING, plan=None, pods=()), WORK_RUNS, "Succeeded", ago=LAGGARD_SECONDS + 1)
    decision = decide(job(workers={"replicas": 5}), seen, NOW)
    assert (decision.status.phase, decision.actions) == (Phase.RUNNING, ())


def test_a_refusal_of_any_length_is_one_line_that_fits():
    refusal = Refusal(WORK, "invalid:\n" + "x" * 10_000 + "\ud800", final=True)
    failed = find_condition(
        decide(job(), replace(PLANNED, refusal=refusal), NOW).status.conditions, ConditionType.FAILED
    )
    assert len(failed.message) == 4096 and "\n" not in failed.message


def test_lost_workers_say_why():
    words = pod(work_lost, "Failed", "The GPU has fallen off the bus.", 1)
    seen = reported(done=5, missing=3)
    seen = replace(seen, work=work_lost, pods=(*seen.pods, words))
    failed = find_condition(decide(job(), seen, NOW).status.conditions, ConditionType.FAILED)
    assert "The last one said: The GPU has fallen off the bus. Delete" in failed.message


def test_a_change_after_the_end_is_seen():
    """`kstatus` of GitOps tools waits for it."""
    ended = job(status=ENDED)
    changed = ended.model_copy(update={"metadata": ended.metadata.model_copy(update={"generation": 7})})
    assert decide(changed, reported(), NOW).status.observed_generation == 7


def test_work_done_before_the_report_is_heard_waits_for_its_words():
    seen = replace(WORKED, report=replace(REPORT_DONE, **just_now))
    decision = decide(job(), seen, NOW)
    assert decision.actions == () and 0 < decision.look_again <= 5
    assert WORK_DONE.outcome is Outcome.COMPLETE
