"""How many processes make a worker's requests."""

from __future__ import annotations

import pytest

from transcription_worker.widths import store_processes


@pytest.mark.parametrize(("cpus", "processes"), [(1, 1), (2, 1), (5, 1), (6, 2), (12, 4), (192, 4)])
def test_there_are_as_many_as_the_requests_of_one_worker_can_use(cpus: int, processes: int) -> None:
    """A container without a limit of CPUs sees all of its node, and each process takes 55 MB."""
    assert store_processes(cpus) == processes
