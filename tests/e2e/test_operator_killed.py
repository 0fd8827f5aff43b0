"""The operator killed at every write that it makes, doubled, frozen: the same job all the same."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.operating import Operator, install_crd
from tests.e2e.stage import NAME, stage, subject

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def crd(cluster: Cluster) -> None:
    install_crd(cluster)


@pytest.fixture(scope="module")
def undisturbed(
    cluster: Cluster, namespaces: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], list[str]]:
    """The final status of a job whose operator lived, and what it wrote."""
    with stage(cluster, namespaces, tmp_path_factory.mktemp("undisturbed") / "stage") as one:
        one.jobs.start(NAME)
        one.jobs.await_condition(NAME, "Complete")
        one.assert_nothing_doubled()
        one.assert_nothing_of_kopf()
        assert {write["result"] for write in one.written} == {"done"}
        return one.status(), [subject(write) for write in one.written]


def test_operator_killed_at_every_write_loses_and_doubles_nothing(
    cluster: Cluster, namespaces: list[str], tmp_path: Path, undisturbed: tuple[dict[str, Any], list[str]]
) -> None:
    status, writes = undisturbed
    with ExitStack() as stack:
        stages = {
            number: stack.enter_context(stage(cluster, namespaces, tmp_path / str(number), "--die-at", str(number)))
            for number in (1, 2, 3)
        }
        for one in stages.values():
            one.jobs.start(NAME)
        for one in stages.values():
            one.jobs.await_condition(NAME, "Complete", timeout=240)
        deaths: dict[str, set[str]] = {}
        for number, one in stages.items():
            assert one.status() == status, number
            one.assert_nothing_doubled()
            one.assert_nothing_of_kopf()
            one.assert_no_traceback()
            for write in one.written:
                if write["result"].startswith("died"):
                    deaths.setdefault(subject(write), set()).add(write["result"])
        lives = {number: one.written[-1]["life"] for number, one in stages.items()}
        print(f"deaths: {lives}; at {deaths}")
        # The walk was a whole one: every kind of write that a life makes had both its deaths.
        assert deaths == {write: {"died before", "died after"} for write in writes}


def test_two_operators_at_once_do_the_work_of_one(
    cluster: Cluster, namespaces: list[str], tmp_path: Path, undisturbed: tuple[dict[str, Any], list[str]]
) -> None:
    status, _ = undisturbed
    with stage(cluster, namespaces, tmp_path / "two", operators=2) as one:
        one.jobs.start(NAME)
        one.jobs.await_condition(NAME, "Complete")
        assert one.status() == status
        one.assert_nothing_doubled()
        one.assert_no_traceback()
        told = one.jobs.events(NAME)
        assert len(told) == len(set(told)), told
        assert {reason for reason, _ in told} >= {"PlanWritten", "Running", "Reporting", "Completed"}


def test_an_operator_that_was_frozen_writes_nothing_that_is_out_of_date(
    cluster: Cluster, namespaces: list[str], tmp_path: Path, undisturbed: tuple[dict[str, Any], list[str]]
) -> None:
    """One freezes while the plan is written; another does the rest; the first wakes with all it knew before."""
    status, _ = undisturbed
    with stage(cluster, namespaces, tmp_path / "frozen", operators=2) as one:
        frozen = one.operators[0].process
        assert frozen is not None
        one.jobs.start(NAME, plan="hold")
        one.jobs.await_phase(NAME, "Planning")
        frozen.send_signal(signal.SIGSTOP)
        try:
            one.jobs.let_go(NAME, "plan")
            one.jobs.await_condition(NAME, "Complete")
            ended = one.jobs.get(NAME)
        finally:
            frozen.send_signal(signal.SIGCONT)
        wait_for(lambda: metric(one.operators[0], 'phase="Succeeded"') == 1, 60, "the frozen operator to catch up")
        assert one.jobs.get(NAME) == ended
        assert one.status() == status
        one.assert_nothing_doubled()
        one.assert_no_traceback()


def metric(one: Operator, labels: str) -> float:
    lines = (line for line in one.get("/metrics").splitlines() if labels in line)
    return float(next(lines, "x 0").split()[-1])
