"""Many processes on one scratch, and kills at random moments."""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path

import pytest

from tests.scratch_drivers import DEADLINE_SECONDS, driver, go_on, left, start_and_end, told
from transcription_worker.sweep import sweep

PROCESSES = 8
KILLS = 30


def test_eight_processes_that_make_remove_and_sweep_lose_no_live_file(tmp_path: Path) -> None:
    root = tmp_path / "scratch"
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(driver("loop", root, f"{seed},60")) for seed in range(PROCESSES)]
        assert all(told(worker) == {"ready": True} for worker in workers)
        assert [told(worker) for worker in workers] == [{"lost": 0}] * PROCESSES
        assert [worker.wait(DEADLINE_SECONDS) for worker in workers] == [0] * PROCESSES
    assert left(root) == []


@pytest.mark.parametrize("seed", [1, 2])
def test_kills_at_random_moments_leave_nothing_after_the_next_start(tmp_path: Path, seed: int) -> None:
    root = tmp_path / "scratch"
    chance = random.Random(seed)
    orphans = 0
    with driver("hold", root) as neighbour:
        told(neighbour)
        for number in range(KILLS // 2):
            with driver("loop", root, f"{number},1000000") as victim:
                told(victim)
                time.sleep(chance.random() * 0.05)  # the moment of the kill is what is random here
                victim.kill()
                victim.wait(DEADLINE_SECONDS)
            orphans += sweep(root).orphans
        assert orphans > KILLS // 4, "most kills must hit an owner, or this test shows nothing"
        go_on(neighbour)
        assert told(neighbour) == {"kept": True}
    start_and_end(root)
    assert left(root) == []
