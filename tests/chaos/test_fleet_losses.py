"""The short form of `python -m tests.chaos.fleet_losses`: a smaller job, and a freeze of some seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.fleet_losses import LOSSES, run
from tests.conftest import require_server

RECORDINGS = 120
SEED = 6
FREEZE_SECONDS = 3.0
"""Nothing has to time out for others to take a worker's place; it stands still until they are through in any case."""


@pytest.mark.s3
@pytest.mark.model
@pytest.mark.slow
def test_a_fleet_that_loses_two_workers_for_good_and_one_for_a_while_does_each_recording_once(tmp_path: Path) -> None:
    require_server()
    figures = run(tmp_path, seed=SEED, recordings=RECORDINGS, freeze=FREEZE_SECONDS, say=print)
    assert figures.faults == []
    assert figures.verdict.planned == RECORDINGS
    assert sorted(struck.loss for struck in figures.struck) == sorted(LOSSES)
    assert all(struck.recordings for struck in figures.struck)
    assert figures.files_left_by_the_dead
    assert figures.recordings_read_twice
    assert figures.woken.status == 0
    assert figures.woken.frozen_seconds >= FREEZE_SECONDS
    assert figures.woken.shards_of_others
