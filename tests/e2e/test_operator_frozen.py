"""The only operator stands still while its jobs go on, come and go; then it wakes with all it knew before.

For 20 seconds, or for as long as E2E_FROZEN_SECONDS says: after some minutes its watches have been dropped too.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.operating import install_crd
from tests.e2e.stage import Stage, stage

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

SECONDS = float(os.environ.get("E2E_FROZEN_SECONDS", "20"))
STEPS = ("plan", "work", "report")


def test_an_operator_that_stood_still_catches_up(cluster: Cluster, namespaces: list[str], tmp_path: Path) -> None:
    install_crd(cluster)
    with stage(cluster, namespaces, tmp_path / "stage") as one:
        jobs, process = one.jobs, one.operators[0].process
        assert process is not None
        for name in ("planned", "leaves"):
            jobs.start(name, plan="hold")
        jobs.start("worked", work="hold")
        jobs.start("expires", report="hold", ttlSecondsAfterFinished=int(SECONDS) + 600)
        jobs.start("late", work="hold", activeDeadlineSeconds=int(SECONDS) + 600)
        for name, step in (("planned", "plan"), ("leaves", "plan"), ("worked", "work"), ("expires", "report")):
            jobs.await_pod(name, step)
        jobs.await_pod("late", "work")
        for name, phase in (("worked", "Running"), ("expires", "Reporting"), ("late", "Running")):
            jobs.await_phase(name, phase)
        process.send_signal(signal.SIGSTOP)
        wakes = time.monotonic() + SECONDS
        try:
            for name, step in (("planned", "plan"), ("worked", "work"), ("expires", "report")):
                jobs.let_go(name, step)
                jobs.await_pod(name, step, "Succeeded")
            jobs.delete("leaves")
            jobs.start("came")
            jobs.start("came-and-went")
            jobs.delete("came-and-went")
            jobs.patch("late", {"suspend": True})
            wait_for(lambda: not jobs.left_of("leaves"), 90, "the deleted job to go while the operator stands still")
            assert len(one.history["jobs"].of("planned-work")) == 0
            wait_for(lambda: time.monotonic() >= wakes, SECONDS, "the end of its sleep")
        finally:
            process.send_signal(signal.SIGCONT)
        jobs.await_phase("late", "Suspended")
        jobs.patch("late", {"suspend": False})
        jobs.let_go("late", "work")
        names = ("planned", "worked", "expires", "late", "came")
        for name in names:
            jobs.await_condition(name, "Complete")
        assert_caught_up(one, names)


def assert_caught_up(one: Stage, names: tuple[str, ...]) -> None:
    """Every job that stayed ended once, and nothing is there of those that went.

    The watches tell in order what happened meanwhile: a plan may be made for a job of which the next thing that they
    tell is that it went. Its owner is gone, and so it goes.
    """
    for name in ("leaves", "came-and-went"):
        wait_for(lambda gone=name: not one.jobs.left_of(gone), 60, f"what was made for {name} to go")  # type: ignore[misc]
    made = one.history["jobs"].uids
    expected = {f"{name}-{step}" for name in names for step in STEPS} | {"leaves-plan"}
    assert made.keys() - {"came-and-went-plan"} == expected
    assert {name: len(uids) for name, uids in made.items()} == dict.fromkeys(made, 1)
    pods = [name.rpartition("-")[0] for name in one.history["pods"].uids if not name.startswith("late-work")]
    assert len(pods) == len(set(pods)), "one pod each, but for a worker that was suspended"
    for name in set(names) - {"late"}:  # which ran twice
        told = one.jobs.events(name)
        assert len(told) == len(set(told)), told
    one.assert_no_traceback()
