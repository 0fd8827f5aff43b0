"""Store processes that are sure to be there: a worker does without until they are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from transcription_worker.store.process import StoreProcess, StoreProcesses


@contextmanager
def ready_processes() -> Iterator[StoreProcesses]:
    with StoreProcesses(1) as processes:
        processes.start()
        one_of(processes)
        yield processes


def one_of(processes: StoreProcesses, seconds: float = 60.0) -> StoreProcess:
    deadline = time.monotonic() + seconds
    while (process := processes.any()) is None:
        assert time.monotonic() < deadline, f"no store process was ready in {seconds:g} s"
        time.sleep(0.01)
    return process
