"""CPUs are counted as the kernel grants them, and shared out among processes."""

import os

import pytest

from transcription_worker.resources import cpu_count, thread_environment


def test_no_more_cpus_than_the_scheduler_allows():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cpu_count() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(("cpus", "processes", "threads"), [(8, 1, "8"), (8, 3, "2"), (2, 5, "1")])
def test_processes_share_the_cpus(monkeypatch, cpus, processes, threads):
    monkeypatch.setattr("transcription_worker.resources.cpu_count", lambda: cpus)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert thread_environment(processes) == {"OMP_NUM_THREADS": threads}


def test_the_user_s_own_number_stands(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert thread_environment(2) == {"OMP_NUM_THREADS": "3"}
