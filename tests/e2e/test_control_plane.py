"""A control plane that misbehaves: errors, lost answers, dropped and silent watches, an API server that restarts, a
slow etcd. State converges, nothing is doubled, and the operator is alive all the time.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.record import read_record
from tests.e2e.api_proxy import Fault, Misbehaviour, misbehaving
from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.fast_worker import without_times
from tests.e2e.operating import install_crd
from tests.e2e.stage import NAME, Stage, stage

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

JOBS = [f"call-{number}" for number in range(6)]
FROZEN_SECONDS = 20.0


@pytest.fixture(scope="module", autouse=True)
def crd(cluster: Cluster) -> None:
    install_crd(cluster)


def facts(one: Stage, name: str) -> dict[str, Any]:
    """What a job ends with, whatever happened on the way."""
    job = one.jobs.get(name)
    status = without_times(job["status"], job["metadata"]["uid"])
    return {"phase": status["phase"], "plan": {**status["plan"], "uri": ""}, "progress": status["progress"]}


@pytest.mark.parametrize("seed", [1, 2])
def test_errors_lost_answers_and_broken_watches_lose_and_double_nothing(
    cluster: Cluster, namespaces: list[str], tmp_path: Path, seed: int
) -> None:
    how = Misbehaviour(share=0.3, watches=0.9, seed=seed)
    with (
        misbehaving(cluster, tmp_path, how) as kubeconfig,
        stage(cluster, namespaces, tmp_path / "stage", KUBECONFIG=str(kubeconfig)) as one,
    ):
        for name in JOBS:
            one.jobs.start(name)
        for name in JOBS:
            one.jobs.await_condition(name, "Complete", timeout=240)
        print(f"seed {seed}: " + ", ".join(f"{fault}: {count}" for fault, count in sorted(how.met.items())))
        assert set(how.met) >= {Fault.TOO_MANY_REQUESTS, Fault.CUT_AFTER, Fault.WATCH_CUT}
        one.assert_nothing_doubled(*JOBS)
        one.assert_no_traceback()
        how.share = how.watches = 0.0
        assert [facts(one, name) for name in JOBS] == [facts(one, JOBS[0])] * len(JOBS)
        for name in JOBS:
            told = one.jobs.events(name)
            assert len(told) == len(set(told)), told


def test_a_job_that_ends_while_nobody_can_be_asked_is_found_ended(
    cluster: Cluster, namespaces: list[str], tmp_path: Path
) -> None:
    how = Misbehaviour(share=0.0, seed=0)
    with (
        misbehaving(cluster, tmp_path, how) as kubeconfig,
        stage(cluster, namespaces, tmp_path / "stage", KUBECONFIG=str(kubeconfig)) as one,
    ):
        one.jobs.start(NAME, work="hold")
        one.jobs.await_phase(NAME, "Running")
        one.jobs.start("gone", plan="hold")
        one.jobs.await_phase("gone", "Planning")
        how.down = True
        one.jobs.let_go(NAME, "work")
        one.jobs.await_pod(NAME, "work", "Succeeded")
        one.jobs.delete("gone")
        wait_for(lambda: not one.jobs.left_of("gone"), 90, "the deleted job to go while the operator hears nothing")
        assert one.operators[0].get("/metrics"), "the operator must not die of a control plane that is away"
        how.down = False
        one.jobs.await_condition(NAME, "Complete")
        one.assert_no_traceback()


def process_of(component: str) -> int:
    """The process of a program of the test cluster."""
    record = read_record()
    if record is None or not record.alive:
        pytest.skip("stops a component of the test cluster, and $KUBECONFIG is another one")
    return record.children()[component]


@contextmanager
def frozen(component: str) -> Iterator[None]:
    """A program of the test cluster that answers nobody for a while; the cluster is not left like that."""
    process = process_of(component)
    os.kill(process, signal.SIGSTOP)
    thaw = threading.Timer(FROZEN_SECONDS, os.kill, (process, signal.SIGCONT))
    thaw.start()
    try:
        yield
    finally:
        thaw.join()


@pytest.mark.parametrize("component", ["etcd", "kube-apiserver"])
def test_a_control_plane_that_stands_still_is_waited_for(
    cluster: Cluster, namespaces: list[str], tmp_path: Path, component: str
) -> None:
    with stage(cluster, namespaces, tmp_path / "stage") as one:
        for name in JOBS:
            one.jobs.start(name)
        with frozen(component):
            pass
        for name in JOBS:
            one.jobs.await_condition(name, "Complete", timeout=240)
        assert_no_child_was_made_twice(one, *JOBS)
        one.assert_no_traceback()


@contextmanager
def slowed(component: str) -> Iterator[None]:
    """A program of the test cluster that stands still for nine tenths of the time, in turns."""
    process, done = process_of(component), threading.Event()

    def take_turns() -> None:
        while not done.is_set():
            os.kill(process, signal.SIGSTOP)
            done.wait(0.45)
            os.kill(process, signal.SIGCONT)
            done.wait(0.05)

    turns = threading.Thread(target=take_turns)
    turns.start()
    try:
        yield
    finally:
        done.set()
        turns.join()


def test_jobs_go_on_while_etcd_is_slow(cluster: Cluster, namespaces: list[str], tmp_path: Path) -> None:
    with stage(cluster, namespaces, tmp_path / "stage") as one:
        with slowed("etcd"):
            begun = time.monotonic()
            for name in JOBS:
                one.jobs.start(name)
            seconds = time.monotonic() - begun
            for name in JOBS:
                one.jobs.await_condition(name, "Complete", timeout=400)
        print(f"a job was created in {seconds / len(JOBS):.2f} s")
        assert_no_child_was_made_twice(one, *JOBS)
        one.assert_no_traceback()


def test_a_restarted_api_server_is_found_again(cluster: Cluster, namespaces: list[str], tmp_path: Path) -> None:
    record = read_record()
    if record is None or not record.alive:
        pytest.skip("restarts the API server of the test cluster, and $KUBECONFIG is another one")
    with stage(cluster, namespaces, tmp_path / "stage") as one:
        one.jobs.start(NAME, plan="hold")
        one.jobs.await_phase(NAME, "Planning")
        before = record.children()["kube-apiserver"]
        os.kill(record.pid, signal.SIGHUP)  # kill -9 and a new one: see tests/cluster/node.py

        def another_answers() -> bool:
            after = record.children().get("kube-apiserver", before)
            ready = cluster.kubectl("get", "--raw=/readyz", "--request-timeout=2s", check=False)
            return after != before and ready.stdout.strip() == "ok"

        wait_for(another_answers, 90, "another API server")
        one.jobs.let_go(NAME, "plan")
        one.jobs.await_condition(NAME, "Complete", timeout=240)
        assert_no_child_was_made_twice(one, NAME)
        one.assert_no_traceback()


def assert_no_child_was_made_twice(one: Stage, *names: str) -> None:
    """All children are there, and none was made by two requests; the answer to the one request may have been lost."""
    made = [write["body"]["metadata"]["name"] for write in one.written if is_done_creation(write)]
    assert len(made) == len(set(made)), made
    for name in names:
        for step in ("plan", "work", "report"):
            assert one.jobs.child(name, step), f"{name}-{step}"


def is_done_creation(write: dict[str, Any]) -> bool:
    return bool(write["verb"] == "POST" and write["path"].endswith("/jobs") and write["result"] == "done")
