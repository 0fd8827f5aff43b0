"""The job's totals from its ledgers: each read once, listed seldom, and never wrong while a store is slow or away."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs import wait_until
from transcription_worker import job_progress
from transcription_worker.counts import Counts
from transcription_worker.errors import ConfigurationError, Reason, RetryableError
from transcription_worker.job_progress import REFRESH_SECONDS, JobProgress
from transcription_worker.layout import JobLayout
from transcription_worker.outcome import Outcome, State, write_outcomes
from transcription_worker.plan import Plan
from transcription_worker.store.local import LocalStore
from transcription_worker.store.protocol import ObjectInfo

LAYOUT = JobLayout("job-1")


class CountingStore(LocalStore):
    """A directory that counts what is asked of it, and can be away or slow."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, str(root))
        self.asked: Counter[str] = Counter()
        self.away = False
        self.go_on = threading.Event()
        self.go_on.set()

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self.asked["list"] += 1
        assert self.go_on.wait(30)
        if self.away:
            raise RetryableError("the store is away.")
        return super().list(prefix)

    def get(self, key: str) -> bytes:
        self.asked[key] += 1
        return super().get(key)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    store = CountingStore(tmp_path)
    store.put(LAYOUT.plan, Plan("job-1", "a", "2026-01-01T00:00:00Z", 400, 4000, 1.0, 0, 40, True).to_json())
    return store


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(store: CountingStore, clock: Clock) -> JobProgress:
    return JobProgress(store, LAYOUT, clock)


def finish(store: LocalStore, shard: int, *, failed: int = 0) -> None:
    """A ledger of ten recordings."""
    lines = [
        Outcome(
            key=f"{shard}/{n}",
            etag="e",
            size=10,
            state=State.FAILED if n < failed else State.DONE,
            reason=Reason.CORRUPT if n < failed else None,
            message="m" * 5000 if n < failed else None,
            duration=None if n < failed else 2.0,
        )
        for n in range(10)
    ]
    store.put(LAYOUT.ledger(shard), write_outcomes(lines))


def test_a_job_that_has_just_begun_has_its_plan_and_no_counts(progress: JobProgress) -> None:
    totals = progress.read()
    assert totals is not None
    shown = totals.to_dict()
    assert (shown["recordings"], shown["total_bytes"], shown["shards"], shown["ledgers"]) == (400, 4000, 40, 0)
    assert (totals.counts, shown["finished_shards"], shown["failures"]) == (Counts(), (), [])


def test_ledgers_are_added_up_and_finished_shards_told_as_ranges(progress: JobProgress, store: CountingStore) -> None:
    for shard in (0, 1, 2, 5, 39):
        finish(store, shard, failed=1)
    totals = progress.read()
    assert totals is not None
    assert totals.counts == Counts(done=45, failed=5, bytes=500, audio_seconds=90.0)
    assert totals.finished == ((0, 2), (5, 5), (39, 39))
    assert totals.to_dict()["ledgers"] == 5


def test_each_ledger_is_read_once_and_listed_every_few_seconds_at_most(
    progress: JobProgress, store: CountingStore, clock: Clock
) -> None:
    finish(store, 3)
    for _ in range(50):
        progress.read()
    assert store.asked["list"] == 1
    clock.now += REFRESH_SECONDS
    finish(store, 4)
    totals = progress.read()
    assert totals is not None
    assert totals.counts.done == 20
    assert store.asked == {LAYOUT.plan: 1, LAYOUT.ledger(3): 1, LAYOUT.ledger(4): 1, "list": 2}


def test_the_first_failures_are_those_of_the_lowest_shards_with_texts_that_fit_a_status(
    progress: JobProgress, store: CountingStore, clock: Clock
) -> None:
    finish(store, 30, failed=10)
    progress.read()
    clock.now += REFRESH_SECONDS
    finish(store, 2, failed=3)
    totals = progress.read()
    assert totals is not None
    assert [f.key for f in totals.failures] == ["2/0", "2/1", "2/2", *(f"30/{n}" for n in range(7))]
    assert {len(f.message) for f in totals.failures} == {1024}


def test_a_store_that_is_away_loses_no_count(progress: JobProgress, store: CountingStore, clock: Clock) -> None:
    finish(store, 0)
    progress.read()
    clock.now += REFRESH_SECONDS
    store.away = True
    with pytest.raises(RetryableError):
        progress.read()
    store.away = False
    clock.now += REFRESH_SECONDS
    finish(store, 1)
    totals = progress.read()
    assert totals is not None
    assert totals.counts.done == 20


def test_a_slow_store_holds_up_nobody_for_long(
    progress: JobProgress, store: CountingStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_progress, "PATIENCE_SECONDS", 0.1)
    store.go_on.clear()
    try:
        assert progress.read() is None
        assert progress.read() is None
        assert store.asked["list"] == 1
    finally:
        store.go_on.set()
    wait_until(lambda: progress.read() is not None)
    first = progress.read()
    clock.now += REFRESH_SECONDS
    finish(store, 0)
    store.go_on.clear()
    try:
        assert progress.read() == first
    finally:
        store.go_on.set()
    wait_until(lambda: progress.read() != first)


def test_without_a_plan_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="run plan first"):
        JobProgress(CountingStore(tmp_path), LAYOUT).read()
