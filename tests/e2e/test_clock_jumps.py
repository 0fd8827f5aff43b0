"""The operator's machine with a clock that jumps by days, to and fro: jobs end when they should, and only then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.api_proxy import Misbehaviour, misbehaving
from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.operating import install_crd
from tests.e2e.stage import Stage, stage
from tests.false_clock import FalseClock, false_clock

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

DAYS = 3
HOUR = 3600
LAST_PASS = "transcription_operator_last_pass_timestamp_seconds "


@dataclass(frozen=True)
class Scene:
    """An operator that believes a false clock."""

    stage: Stage
    clock: FalseClock

    def jump(self, days: float) -> None:
        """Move its clock, and wait until passes have been made by it."""
        self.clock.set(timedelta(days=days))
        seen: set[float] = set()

        def passes() -> bool:
            stamp = self.believed()
            if abs(stamp - (datetime.now(UTC) + timedelta(days=days)).timestamp()) < HOUR:
                seen.add(stamp)
            return len(seen) > 2

        wait_for(passes, 60, f"passes by a clock that is {days} days off")

    def believed(self) -> float:
        """What it took the time for when it made its last pass."""
        lines = self.stage.operators[0].get("/metrics").splitlines()
        return next((float(line.split()[1]) for line in lines if line.startswith(LAST_PASS)), 0.0)


@contextmanager
def scene(cluster: Cluster, deleted: list[str], folder: Path) -> Iterator[Scene]:
    """Without TLS on the operator's side: whoever's clock says that certificates are not valid can talk to nobody."""
    clock = false_clock(folder)
    environment: dict[str, Any] = clock.environment
    with (
        misbehaving(cluster, folder, Misbehaviour(share=0.0, seed=0)) as config,
        stage(cluster, deleted, folder / "stage", KUBECONFIG=str(config), **environment) as one,
    ):
        yield Scene(one, clock)


def test_a_clock_that_jumps_ends_no_job_and_delays_none(
    cluster: Cluster, namespaces: list[str], tmp_path: Path
) -> None:
    install_crd(cluster)
    began = datetime.now(UTC) - timedelta(seconds=2)
    with scene(cluster, namespaces, tmp_path) as one:
        jobs, names = one.stage.jobs, ("in-time", "kept", "ahead", "behind")
        jobs.start("in-time", work="hold", activeDeadlineSeconds=HOUR)
        jobs.start("kept", ttlSecondsAfterFinished=HOUR)
        jobs.await_condition("kept", "Complete")
        jobs.await_phase("in-time", "Running")

        one.jump(DAYS)
        assert jobs.status("in-time")["phase"] == "Running"
        assert jobs.get("kept")
        jobs.start("ahead", activeDeadlineSeconds=HOUR, ttlSecondsAfterFinished=HOUR)
        jobs.await_condition("ahead", "Complete")

        one.jump(-DAYS)
        jobs.start("behind")
        jobs.start("overdue", work="hold", activeDeadlineSeconds=5)
        jobs.start("expires", ttlSecondsAfterFinished=1)
        jobs.await_condition("behind", "Complete")
        assert jobs.await_condition("overdue", "Failed", 60)["phase"] == "Failed"
        assert jobs.condition("overdue", "Failed")["reason"] == "DeadlineExceeded"
        wait_for(lambda: not jobs.left_of("expires"), 60, "the finished job to go")

        one.jump(0)
        assert jobs.get("kept") and jobs.get("ahead")
        jobs.let_go("in-time", "work")
        jobs.await_condition("in-time", "Complete")
        made = one.stage.history["jobs"].uids
        assert {name: len(uids) for name, uids in made.items()} == dict.fromkeys(made, 1)
        for name in names:
            told = jobs.events(name)
            assert len(told) == len(set(told)), told
            for moment in moments(jobs.status(name)):
                assert began <= moment <= datetime.now(UTC) + timedelta(seconds=2), jobs.status(name)
        one.stage.assert_no_traceback()


def moments(status: Any) -> Iterator[datetime]:
    """Every time that a status tells."""
    if isinstance(status, dict):
        for name, value in status.items():
            if name.endswith("Time"):
                yield datetime.fromisoformat(value)
            else:
                yield from moments(value)
    elif isinstance(status, list):
        for value in status:
            yield from moments(value)
