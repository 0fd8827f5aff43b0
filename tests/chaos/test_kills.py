"""The short form of `python -m tests.chaos.kills`: every fault point once, and a moment or two, over small jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.fates import AFTER_A_DEATH, Kind, Role, Schedule
from tests.chaos.kills import run_all
from tests.conftest import require_server
from transcription_worker.fault_points import Point

SEED = 20
RECORDINGS = 48
KILLS = 54
"""Somewhat more than there are points."""


@pytest.mark.s3
@pytest.mark.model
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_every_point_a_job_loses_doubles_and_leaves_nothing(tmp_path: Path) -> None:
    require_server()
    figures = run_all(tmp_path, kills=KILLS, seed=SEED, workers=2, recordings=RECORDINGS, runs=0, say=print)
    assert figures.faults == []
    assert figures.points_never_reached == []
    assert figures.kills >= KILLS - figures.fates_not_met
    assert figures.outcomes == figures.jobs * RECORDINGS


@pytest.mark.parametrize("seed", range(5))
def test_what_needs_a_death_before_it_gets_one(seed: int) -> None:
    schedule = Schedule(0, seed, RECORDINGS, 1.0)
    first: list[Point | None] = []
    while (fate := schedule.next(Role.WORK, replaces=True)).point is not Point.CLAIM_CREATED or len(first) < len(Point):
        assert fate.kind is Kind.POINT and fate.point not in AFTER_A_DEATH
        first.append(fate.point)
    assert schedule.next(Role.WORK, after_death=True).point in AFTER_A_DEATH
