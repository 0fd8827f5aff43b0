"""A worker's counters: what each shard has come to, how fast it goes of late, how full batches are."""

from __future__ import annotations

import logging

import pytest

from transcription_worker import progress as progress_module
from transcription_worker.counts import Counts
from transcription_worker.errors import Reason
from transcription_worker.outcome import Outcome, State
from transcription_worker.progress import FILL_EDGES, Progress
from transcription_worker.speed import RecentSpeed


def outcome(state: State, key: str = "a.wav") -> Outcome:
    failed = state is State.FAILED
    return Outcome(
        key=key,
        etag="e",
        size=10,
        state=state,
        reason=Reason.CORRUPT if failed else None,
        message="it is broken" if failed else None,
        duration=None if failed else 3.0,
        model_seconds=0.1,
    )


def test_what_a_shard_has_come_to_is_told_until_a_while_after_its_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = Progress()
    progress.settled(outcome(State.DONE), shard=4)
    progress.settled(outcome(State.FAILED), shard=4)
    progress.settled(outcome(State.SKIPPED), shard=7)
    assert progress.shards() == {
        4: Counts(done=1, failed=1, bytes=20, audio_seconds=3.0),
        7: Counts(skipped=1, bytes=10),
    }
    progress.ledgered(4)
    assert progress.has_ledger(4)
    assert 4 in progress.shards()
    monkeypatch.setattr(progress_module, "KEPT_SECONDS", -1.0)
    progress.ledgered(9)
    assert set(progress.shards()) == {7}


def test_the_first_failures_are_kept_and_outcomes_counted_by_reason() -> None:
    progress = Progress()
    for n in range(25):
        progress.settled(outcome(State.FAILED, f"{n}.wav"), shard=0)
    progress.settled(outcome(State.DONE), shard=0)
    assert [failure.key for failure in progress.failures()] == [f"{n}.wav" for n in range(10)]
    assert progress.detail().outcomes == {(State.FAILED, "Corrupt"): 25, (State.DONE, ""): 1}


@pytest.mark.parametrize("padded", [10.0, 11.0, 20.0, 1000.0, 9.999999])
def test_a_batch_falls_into_the_bucket_of_its_fill(padded: float) -> None:
    progress = Progress()
    progress.batch_done(10.0, 0.5, padded)
    detail, ratio = progress.detail(), min(1.0, 10.0 / padded)
    expected = next(n for n, edge in enumerate(FILL_EDGES) if ratio <= edge)
    assert detail.fill.index(1) == expected
    assert detail.fill_sum == pytest.approx(ratio)


def test_a_detail_does_not_change_behind_its_holder() -> None:
    progress = Progress()
    before = progress.detail()
    progress.batch_done(10.0, 0.5, 10.0)
    progress.retried(Reason.TIMEOUT)
    assert (sum(before.fill), len(before.retries)) == (0, 0)


def test_ready_is_who_has_a_model_or_needs_none() -> None:
    loaded, done = Progress(), Progress()
    assert not loaded.ready
    loaded.model_loaded(1.0, {})
    done.all_settled()
    assert loaded.ready and done.ready


def test_the_start_is_told_by_part(caplog: pytest.LogCaptureFixture) -> None:
    progress = Progress()
    with caplog.at_level(logging.INFO):
        progress.model_loaded(0.0, {"torch": 1.54, "toolkit": 6.0})
    assert progress.start["before"] == pytest.approx(progress.time_use.age(), abs=1.0)
    assert caplog.messages[-1].endswith("torch 1.5, toolkit 6.0")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_speed_is_that_of_the_last_minute() -> None:
    clock = Clock()
    speed = RecentSpeed(clock)
    assert speed.value() == 0.0
    clock.now = 1000.0
    speed.add(50.0, took=5.0)
    assert speed.value() == pytest.approx(10.0)
    for _ in range(600):
        clock.now += 1.0
        speed.add(7.0, took=1.0)
    assert speed.value() == pytest.approx(7.0, rel=0.05)
    clock.now += 61.0
    assert speed.value() == 0.0


def test_speed_takes_no_more_memory_for_a_million_amounts() -> None:
    clock = Clock()
    speed = RecentSpeed(clock)
    for _ in range(100_000):
        clock.now += 0.001
        speed.add(0.002, took=0.001)
    assert speed.value() == pytest.approx(2.0, rel=0.05)
    assert len(speed._recent) < 100
