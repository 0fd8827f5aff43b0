"""A job suspended, scaled, late, expired and deleted, in each of its phases. One operator; jobs side by side."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.fast_worker import FastJobs, operated
from tests.e2e.operating import Operator
from tests.e2e.watching import watching

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

GONE_SECONDS = 40
DEADLINE_SECONDS = 30
HELD: dict[str, dict[str, Any]] = {
    "planning": {"plan": "hold"},
    "running": {"work": "hold"},
    "reporting": {"report": "hold"},
}
STEP = {"planning": "plan", "running": "work", "reporting": "report"}


@pytest.fixture(scope="module")
def operating(
    cluster: Cluster, namespaces: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[FastJobs, Operator]]:
    with operated(cluster, namespaces, tmp_path_factory.mktemp("operator")) as (jobs, one, _):
        yield jobs, one


@pytest.fixture(scope="module")
def jobs(operating: tuple[FastJobs, Operator]) -> FastJobs:
    return operating[0]


@pytest.fixture(scope="module", autouse=True)
def what_takes_time(jobs: FastJobs) -> None:
    """Jobs whose clocks run while other tests do."""
    jobs.start("late", work="hold", activeDeadlineSeconds=DEADLINE_SECONDS)
    jobs.start("paused", plan="hold", activeDeadlineSeconds=DEADLINE_SECONDS)
    jobs.start("expires", ttlSecondsAfterFinished=3)
    jobs.start("expires-failed", ttlSecondsAfterFinished=3, plan='fail 78 "No such bucket."')
    jobs.start("stays")
    jobs.await_pod("paused", "plan")
    jobs.patch("paused", {"suspend": True})
    jobs.await_phase("paused", "Suspended")


def test_suspended_in_each_phase_and_resumed(cluster: Cluster, jobs: FastJobs) -> None:
    with watching(cluster, "jobs", jobs.namespace) as history:
        jobs.start("suspend-pending", suspend=True)
        for phase, held in HELD.items():
            jobs.start(f"suspend-{phase}", **held)
        for phase, step in STEP.items():
            jobs.await_phase(f"suspend-{phase}", phase.capitalize())
            jobs.await_pod(f"suspend-{phase}", step)
            jobs.patch(f"suspend-{phase}", {"suspend": True})
        for phase in ("pending", *STEP):
            jobs.await_phase(f"suspend-{phase}", "Suspended")
            assert jobs.condition(f"suspend-{phase}", "Suspended")["reason"] == "SuspendedBySpec"
        for phase, step in STEP.items():
            wait_for(
                lambda phase=phase, step=step: not unfinished(jobs, f"suspend-{phase}", step),  # type: ignore[misc]
                GONE_SECONDS,
                f"the {step} pod to go",
            )
        assert jobs.child("suspend-pending", "plan") is None
        for phase in ("pending", *STEP):
            jobs.patch(f"suspend-{phase}", {"suspend": False})
        for phase, step in STEP.items():
            jobs.let_go(f"suspend-{phase}", step)
        for phase in ("pending", *STEP):
            status = jobs.await_condition(f"suspend-{phase}", "Complete")
            suspended = next(one for one in status["conditions"] if one["type"] == "Suspended")
            assert (suspended["status"], suspended["reason"]) == ("False", "Resumed")
    made = {name: len(uids) for name, uids in history.uids.items() if name.startswith("suspend-")}
    assert made == {f"suspend-{phase}-{step}": 1 for phase in ("pending", *STEP) for step in STEP.values()}


def unfinished(jobs: FastJobs, name: str, step: str) -> list[str]:
    return [
        pod["metadata"]["name"]
        for pod in jobs.pods(name, step)
        if pod["status"].get("phase") not in ("Succeeded", "Failed")
    ]


def test_replicas_change_while_the_workers_run(jobs: FastJobs) -> None:
    def parallelism() -> tuple[int, int]:
        job = jobs.child("scaled", "work")
        assert job is not None
        return job["spec"]["parallelism"], job["spec"]["completions"]

    jobs.start("scaled", work="hold", workers={"replicas": 2})
    jobs.await_pod("scaled", "work")
    uid = jobs.child("scaled", "work")["metadata"]["uid"]  # type: ignore[index]
    jobs.cluster.kubectl("scale", "tj/scaled", "--replicas=4", f"--namespace={jobs.namespace}")
    wait_for(lambda: len(running(jobs, "scaled")) == 4, 60, "4 workers")
    assert jobs.status("scaled")["workers"]["desired"] == 4
    jobs.patch("scaled", {"workers": {"replicas": 1}})
    wait_for(lambda: parallelism() == (1, 1), 60, "one worker to be asked for")
    wait_for(lambda: len(unfinished(jobs, "scaled", "work")) == 1, GONE_SECONDS, "one worker")
    jobs.let_go("scaled", "work")
    status = jobs.await_condition("scaled", "Complete")
    assert (status["workers"]["desired"], status["workers"]["succeeded"]) == (1, 1)
    assert jobs.child("scaled", "work")["metadata"]["uid"] == uid  # type: ignore[index]


def running(jobs: FastJobs, name: str) -> list[str]:
    return [pod["metadata"]["name"] for pod in jobs.pods(name, "work") if pod["status"].get("phase") == "Running"]


def test_a_deadline_ends_a_job_and_stands_still_while_it_is_suspended(jobs: FastJobs) -> None:
    status = jobs.await_condition("late", "Failed")
    failed = next(one for one in status["conditions"] if one["type"] == "Failed")
    assert failed["reason"] == "DeadlineExceeded" and f"activeDeadlineSeconds ({DEADLINE_SECONDS})" in failed["message"]
    wait_for(lambda: not unfinished(jobs, "late", "work"), GONE_SECONDS, "the workers to be stopped")
    since = datetime.fromisoformat(jobs.condition("paused", "Suspended")["lastTransitionTime"])
    wait_for(lambda: (datetime.now(UTC) - since).total_seconds() > DEADLINE_SECONDS, 60, "the deadline to pass")
    assert jobs.status("paused")["phase"] == "Suspended"
    jobs.patch("paused", {"suspend": False})
    jobs.let_go("paused", "plan")
    jobs.await_condition("paused", "Complete")


def test_a_finished_job_goes_with_its_children_when_its_time_is_over(jobs: FastJobs) -> None:
    jobs.await_condition("stays", "Complete")
    for name in ("expires", "expires-failed"):
        wait_for(lambda name=name: not jobs.left_of(name), GONE_SECONDS, f"{name} to go")  # type: ignore[misc]
    assert len(jobs.left_of("stays")) == 7, "three Jobs, three pods and itself"
    jobs.patch("stays", {"ttlSecondsAfterFinished": 0})
    wait_for(lambda: not jobs.left_of("stays"), GONE_SECONDS, "stays to go, now that it may")


PHASES: dict[str, tuple[str, dict[str, Any]]] = {
    "pending": ("Pending", {"storage": {"credentialsSecret": {"name": "missing"}}}),
    "planning": ("Planning", {"plan": "hold"}),
    "running": ("Running", {"work": "hold"}),
    "suspended": ("Suspended", {"suspend": True}),
    "reporting": ("Reporting", {"report": "hold"}),
    "succeeded": ("Succeeded", {}),
    "failed": ("Failed", {"plan": 'fail 78 "No such bucket."'}),
}


def test_deleted_in_each_phase_it_leaves_nothing(operating: tuple[FastJobs, Operator]) -> None:
    """With the operator there, in the background and in the foreground, and with it away."""
    jobs, one = operating
    ways = {"here": ("background", "foreground"), "away": ("background",)}
    names = {
        (place, cascade, phase): f"{place}-{cascade}-{phase}"
        for place, cascades in ways.items()
        for cascade in cascades
        for phase in PHASES
    }
    jobs.apply_all(jobs.fast(name, **PHASES[phase][1]) for (_, _, phase), name in names.items())
    for (_, _, phase), name in names.items():
        jobs.await_phase(name, PHASES[phase][0], timeout=240)
    try:
        for place, cascades in ways.items():
            if place == "away":
                one.kill()
            for cascade in cascades:
                jobs.delete(*(names[place, cascade, phase] for phase in PHASES), cascade=cascade)
            for name in (name for key, name in names.items() if key[0] == place):
                wait_for(lambda name=name: not jobs.left_of(name), GONE_SECONDS, f"{name} to go")  # type: ignore[misc]
    finally:
        if one.process is not None and one.process.poll() is not None:
            one.start()
            one.await_ready()
    jobs.start("afterwards")
    jobs.await_condition("afterwards", "Complete")
