"""How a job ends: what exit codes, lost workers and the report's figures make of it; children deleted by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.fast_worker import FastJobs, operated
from tests.e2e.operating import Operator
from tests.e2e.watching import watching

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

RETRIES = 4
"""Attempts of plan and report: after 10, 20 and 40 s."""
SLOWEST = "plan-75"
"""Looked at when all other tests are through."""


def report(**figures: Any) -> str:
    """Shell that makes the report say these."""
    said = {"planned": 10, "missing": 0, "done": 10, "skipped": 0, "failed": 0, "report": "s3://x/", **figures}
    return f"said='{json.dumps(said)}'"


ONE_WORKER_FAILS = {"work": '[ "$JOB_COMPLETION_INDEX" = 0 ] && exit 1', "workers": {"replicas": 2}}
ONE_ATTEMPT = {"failurePolicy": {"attemptsPerWorker": 1}}
BAD = {"key": "bad.wav", "reason": "Truncated", "message": "It ends early."}

FAILED: dict[str, tuple[dict[str, Any], str, str]] = {
    "plan-78": ({"plan": 'fail 78 "No such bucket: calls."'}, "Configuration", "No such bucket: calls."),
    "plan-2": ({"plan": 'fail 2 "spec.input: no such field."'}, "Configuration", "spec.input: no such field."),
    "plan-75": ({"plan": 'fail 75 "The store is away."'}, "PlanFailed", "The store is away."),
    "work-78": ({"work": 'fail 78 "The model is no .nemo."'}, "Configuration", "The model is no .nemo."),
    "report-78": ({"report": 'fail 78 "Denied: out/"'}, "Configuration", "Denied: out/"),
    "report-mute": ({"report": "said=well"}, "ReportFailed", "workers.image is no worker of this release"),
    "workers-lost": (
        {"work": "exit 1", "report": report(missing=3, done=7), **ONE_ATTEMPT},
        "WorkersLost",
        "3 of 10 recordings have no outcome",
    ),
    "too-many": ({"report": report(done=8, failed=2, failures=[BAD])}, "TooManyFailedRecordings", "2 of 10 recordings"),
}
COMPLETE: dict[str, tuple[dict[str, Any], str]] = {
    "one-worker-lost": ({**ONE_WORKER_FAILS, "report": report(), **ONE_ATTEMPT}, "Completed"),
    "with-failures": ({"report": report(done=9, failed=1, failures=[BAD])}, "CompletedWithFailures"),
}


@pytest.fixture(scope="module")
def operating(
    cluster: Cluster, namespaces: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[FastJobs, Operator]]:
    with operated(cluster, namespaces, tmp_path_factory.mktemp("operator")) as (jobs, one, _):
        yield jobs, one


@pytest.fixture(scope="module")
def ended(operating: tuple[FastJobs, Operator]) -> FastJobs:
    """All jobs of the tables, started at once."""
    jobs = operating[0]
    rows = {name: row[0] for name, row in FAILED.items()} | {name: row[0] for name, row in COMPLETE.items()}
    jobs.apply_all(jobs.fast(name, **fields) for name, fields in rows.items())
    return jobs


@pytest.mark.parametrize("name", sorted(set(FAILED) - {SLOWEST}))
def test_it_fails_with_the_reason_and_the_sentence(ended: FastJobs, name: str) -> None:
    assert_failed(ended, name)


def assert_failed(ended: FastJobs, name: str) -> None:
    _, reason, sentence = FAILED[name]
    status = ended.await_condition(name, "Failed", timeout=240)
    conditions = {one["type"]: one for one in status["conditions"]}
    assert status["phase"] == "Failed"
    assert (conditions["Failed"]["reason"], conditions["Complete"]["reason"]) == (reason, reason)
    assert sentence in conditions["Failed"]["message"]
    assert [said for why, said in ended.events(name) if why == reason] == [conditions["Failed"]["message"]]
    if name.startswith("plan"):
        assert len(ended.pods(name, "plan")) == (RETRIES if name == SLOWEST else 1)
        assert ended.child(name, "work") is None, "a worker was made without a plan"
    if name == "work-78":
        assert len(ended.pods(name, "work")) == 1
    if name == "too-many":
        assert status["failures"] == [BAD]


@pytest.mark.parametrize("name", COMPLETE)
def test_it_is_complete_when_the_report_says_so(ended: FastJobs, name: str) -> None:
    reason = COMPLETE[name][1]
    status = ended.await_condition(name, "Complete", timeout=240)
    complete = next(one for one in status["conditions"] if one["type"] == "Complete")
    assert (status["phase"], complete["reason"]) == ("Succeeded", reason)
    if name == "one-worker-lost":
        assert (status["workers"]["succeeded"], status["workers"]["failed"]) == (1, 1)


def test_children_deleted_by_hand_are_made_again_only_where_they_are_needed(
    cluster: Cluster, operating: tuple[FastJobs, Operator]
) -> None:
    jobs, _ = operating
    with watching(cluster, "jobs", jobs.namespace) as history:
        for step in ("plan", "work", "report"):
            jobs.start(f"without-{step}", **{step: "hold"})
        jobs.start("without-old-plan", work="hold")
        for step in ("plan", "work", "report"):
            jobs.await_pod(f"without-{step}", step)
            delete_child(jobs, f"without-{step}", step)
        jobs.await_pod("without-old-plan", "work")
        delete_child(jobs, "without-old-plan", "plan")
        for step in ("plan", "work", "report"):
            wait_for(lambda step=step: len(history.uids[f"without-{step}-{step}"]) == 2, 60, f"another {step} Job")  # type: ignore[misc]
            jobs.let_go(f"without-{step}", step)
        jobs.let_go("without-old-plan", "work")
        names = ("without-plan", "without-work", "without-report", "without-old-plan")
        for name in names:
            jobs.await_condition(name, "Complete")
        assert len(history.uids["without-old-plan-plan"]) == 1
        made = history.uids
        before = jobs.status("without-work")
        for step in ("plan", "work", "report"):
            delete_child(jobs, "without-work", step)
        # Another job's whole life later nothing has been made again.
        jobs.start("meanwhile")
        jobs.await_condition("meanwhile", "Complete")
        assert {name: uids for name, uids in history.uids.items() if not name.startswith("meanwhile")} == made
        assert jobs.status("without-work") == before


def delete_child(jobs: FastJobs, name: str, step: str) -> None:
    jobs.cluster.kubectl("delete", "job", f"{name}-{step}", f"--namespace={jobs.namespace}")


def test_pods_deleted_before_they_were_heard_cost_no_verdict(
    cluster: Cluster, operating: tuple[FastJobs, Operator]
) -> None:
    """Each ends while the operator is away, and is gone when it comes back."""
    jobs, one = operating
    jobs.start("unheard-plan", plan="hold")
    jobs.start("unheard-report", report="hold")
    jobs.await_pod("unheard-plan", "plan")
    jobs.await_pod("unheard-report", "report")
    one.kill()
    try:
        with watching(cluster, "jobs", jobs.namespace) as history:
            for step in ("plan", "report"):
                jobs.let_go(f"unheard-{step}", step)
                complete = ("wait", "--for=condition=Complete", f"job/unheard-{step}-{step}", "--timeout=60s")
                cluster.kubectl(*complete, f"--namespace={jobs.namespace}")
                pod = jobs.await_pod(f"unheard-{step}", step, "Succeeded")["metadata"]["name"]
                cluster.kubectl("delete", "pod", pod, f"--namespace={jobs.namespace}")
            one.start()
            one.await_ready()
            wait_for(lambda: len(history.uids["unheard-report-report"]) == 2, 60, "the report to be written again")
            jobs.let_go("unheard-report", "report")
            for step in ("plan", "report"):
                status = jobs.await_condition(f"unheard-{step}", "Complete")
                assert status["progress"]["summary"] == "10/10"
            assert len(history.uids["unheard-plan-plan"]) == 1
            assert jobs.condition("unheard-plan", "Planned")["message"] == "The plan stands."
    finally:
        if one.process is not None and one.process.poll() is not None:
            one.start()
            one.await_ready()


def test_it_fails_when_every_retry_has_failed(ended: FastJobs) -> None:
    assert_failed(ended, SLOWEST)
