"""A worker's timesheet stands in the bucket while it works, and when it ends, whatever ends it."""

from __future__ import annotations

import threading
import time

import pytest

from tests.jobs import wait_until
from tests.simulation.store import MemoryStore
from transcription_worker import timesheet
from transcription_worker.errors import RetryableError
from transcription_worker.layout import JobLayout
from transcription_worker.report_job import READERS, timesheets
from transcription_worker.time_use import Timesheet
from transcription_worker.timesheet import kept_timesheet


def sheet(audio_seconds: float) -> Timesheet:
    return Timesheet("0/pod/1", "a", 1, audio_seconds, {"model": 1.0}, {})


def kept(store: MemoryStore) -> float | None:
    found = store.find("sheet")
    return None if found is None else Timesheet.from_json(found).audio_seconds


def test_it_is_kept_while_the_worker_works_for_one_that_is_killed_writes_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timesheet, "KEPT_EVERY_SECONDS", 0.01)
    store, heard = MemoryStore(), 1.0
    with kept_timesheet(store, "sheet", lambda: sheet(heard)):
        wait_until(lambda: kept(store) == 1.0, 30)
        heard = 2.0
        wait_until(lambda: kept(store) == 2.0, 30)


def test_a_worker_that_fails_leaves_its_last_figures() -> None:
    store = MemoryStore()
    with pytest.raises(RetryableError, match="the store went away"), kept_timesheet(store, "sheet", lambda: sheet(3.0)):
        assert kept(store) is None
        raise RetryableError("the store went away")
    assert kept(store) == 3.0


def test_who_did_nothing_tells_nothing() -> None:
    store = MemoryStore()
    with kept_timesheet(store, "sheet", lambda: None):
        pass
    assert kept(store) is None


@pytest.mark.parametrize("silent", [False, True], ids=["refuses", "does not answer"])
def test_a_store_that_is_away_neither_fails_a_worker_nor_holds_it_up(
    silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timesheet, "END_SECONDS", 0.1)
    answered = threading.Event()

    class Away(MemoryStore):
        def put(self, *args: object, **kwargs: object) -> str:
            if silent:
                answered.wait(30)
            raise RetryableError("the store is away.")

    began = time.monotonic()
    with kept_timesheet(Away(), "sheet", lambda: sheet(1.0)):
        pass
    assert time.monotonic() - began < 10
    answered.set()


def test_the_timesheets_of_a_large_fleet_are_read_side_by_side_and_what_is_none_is_left_out() -> None:
    together = threading.Barrier(READERS, timeout=30)

    class Slow(MemoryStore):
        def get(self, key: str) -> bytes:
            together.wait()
            return super().get(key)

    store, layout = Slow(), JobLayout("job-1")
    for number in range(2 * READERS - 1):
        store.put(f"{layout.workers}{number}-0123abcd.json", sheet(float(number)).to_json())
    store.put(f"{layout.workers}99-0123abcd.json", b"{}")
    assert sum(found.audio_seconds for found in timesheets(store, layout, "a")) == sum(range(2 * READERS - 1))
    together.abort()
    assert list(timesheets(MemoryStore(), layout, "a")) == []
