"""The pipeline where something fails, with a stand-in engine, so that it fails exactly there; all else is real."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass
from functools import partial

import pytest

from tests.pipeline_setup import PitchEngine, Setup, four_tones, write_tone
from transcription_worker.engines.protocol import OutOfMemory
from transcription_worker.errors import Reason, RecordingError, RetryableError
from transcription_worker.flow import Stopped
from transcription_worker.outcome import State
from transcription_worker.store import Store


@pytest.fixture
def setup(tmp_path, monkeypatch):
    return four_tones(tmp_path, monkeypatch)


def test_a_passing_failure_of_the_model_is_retried(setup):
    failures = []

    def trouble(batch):
        if 30 in batch and len(failures) < 4:
            failures.append(batch)
            raise ValueError("a cosmic ray")

    outcomes = setup.run(PitchEngine(trouble))
    assert [o.state for o in outcomes] == [State.DONE] * 4
    assert [o.attempts for o in outcomes][2] > 1


def test_a_lasting_failure_costs_one_recording_after_all_attempts(setup):
    def trouble(batch):
        if 30 in batch:
            raise ValueError("no such frame")

    outcomes = setup.run(PitchEngine(trouble))
    assert [o.state for o in outcomes] == [State.DONE, State.DONE, State.FAILED, State.DONE]
    failed = outcomes[2]
    assert (failed.reason, failed.attempts) == (Reason.MODEL_ERROR, 3)
    assert failed.message.startswith("30.wav: the model failed: ValueError: no such frame")
    assert "30.wav.txt" not in setup.texts()


def test_out_of_memory_halves_the_batch_and_goes_on(setup):
    def trouble(batch):
        if len(batch) > 1:
            raise OutOfMemory("device is full")

    engine = PitchEngine(trouble)
    assert [o.state for o in setup.run(engine)] == [State.DONE] * 4
    assert all(len(batch) == 1 for batch in engine.batches)


@dataclass
class Flaky:
    """A store whose `head` fails a few times as a network does, and otherwise is the real one."""

    store: Store
    failures: list[str]

    def __getattr__(self, name):
        return getattr(self.store, name)

    def head(self, key):
        if key in self.failures:
            self.failures.remove(key)
            raise RecordingError(Reason.STORE_ERROR, f"{key}: the store gave no answer")
        return self.store.head(key)


def test_a_store_that_fails_twice_is_asked_a_third_time(setup):
    setup.wrap_input = partial(Flaky, failures=["20.wav", "20.wav"])
    outcomes = setup.run(PitchEngine())
    assert [(o.state, o.attempts) for o in outcomes] == [(State.DONE, n) for n in (1, 3, 1, 1)]


class BackWhenAsked(Flaky):
    """Away until somebody asks whether it answers at all."""

    def check(self, *, write):
        self.failures.clear()
        self.store.check(write=write)

    def head(self, key):
        if self.failures:
            raise RecordingError(Reason.STORE_ERROR, f"{key}: the store gave no answer")
        return self.store.head(key)


@pytest.mark.parametrize("attempts", [1, 3])
def test_a_store_that_is_back_when_the_last_attempt_has_failed_costs_no_recording(setup, attempts):
    setup.attempts = attempts
    setup.wrap_input = partial(BackWhenAsked, failures=["all"])
    assert [o.state for o in setup.run(PitchEngine())] == [State.DONE] * 4


def test_a_store_that_answers_and_never_gives_one_recording_costs_that_one(setup):
    setup.wrap_input = partial(Flaky, failures=["20.wav"] * 100)
    outcomes = setup.run(PitchEngine())
    assert [o.state for o in outcomes] == [State.DONE, State.FAILED, State.DONE, State.DONE]
    assert (outcomes[1].reason, outcomes[1].attempts) == (Reason.STORE_ERROR, 4)


class AwayForAWhile(Flaky):
    """Away for so many looks at whether it answers at all."""

    def check(self, *, write):
        if self.failures:
            self.failures.pop()
            raise RetryableError("the store is away")
        self.store.check(write=write)

    def head(self, key):
        if self.failures:
            raise RecordingError(Reason.STORE_ERROR, f"{key}: the store gave no answer")
        return self.store.head(key)


def test_a_worker_whose_store_is_away_ends_when_it_is_back_so_that_one_outage_costs_one_life(setup, monkeypatch):
    monkeypatch.setattr("transcription_worker.outage.LOOK_SECONDS", 0.01)
    looks = ["away"] * 20
    setup.wrap_input = partial(AwayForAWhile, failures=looks)
    with pytest.raises(RetryableError, match="the store is away"):
        setup.run(PitchEngine())
    assert looks == []
    assert list(setup.output.list(setup.layout.claims)) == [], "handed back"


def test_a_worker_waits_for_no_store_that_stays_away(setup, monkeypatch):
    monkeypatch.setattr("transcription_worker.outage.LOOK_SECONDS", 0.01)
    monkeypatch.setattr("transcription_worker.outage.OUTAGE_SECONDS", 0.1)
    looks = ["away"] * 100_000
    setup.wrap_input = partial(AwayForAWhile, failures=looks)
    with pytest.raises(RetryableError, match="the store is away"):
        setup.run(PitchEngine())
    assert looks


def test_a_store_that_takes_transcripts_slowly_holds_up_the_reading(setup, monkeypatch):
    monkeypatch.setattr("transcription_worker.pipeline.UNWRITTEN_TRANSCRIPTS", 1)
    for loudness in range(41, 81):
        write_tone(setup.folder / f"in/{loudness}.wav", loudness, seconds=4.0)
    engine, written, ahead = PitchEngine(), [], []

    class Slow(Flaky):
        def put(self, key, *args, **kwargs):
            if key.endswith(".json"):
                deadline = time.monotonic() + 0.05
                while time.monotonic() < deadline:
                    ahead.append(sum(map(len, engine.batches)) - len(written))
                    time.sleep(0.005)
                written.append(key)
            return self.store.put(key, *args, **kwargs)

    setup.wrap_output = partial(Slow, failures=[])
    assert [o.state for o in setup.run(engine)] == [State.DONE] * 44
    # A minute of audio, what readers and committers have in hand, and one.
    assert max(ahead) <= 15 + 4 + 2 + 1


def test_the_model_is_loaded_while_a_recording_takes_its_time_to_arrive(setup, monkeypatch):
    monkeypatch.setattr("transcription_worker.intake.SLOW_FETCH_SECONDS", 0.0)
    engine, arrived = PitchEngine(), threading.Event()

    def download():
        time.sleep(0.2)
        arrived.set()
        return setup_rate()

    def load():
        assert arrived.is_set(), "who owns the model is not left behind by a drain: it waits for no download"
        PitchEngine.load(engine)

    setup_rate, setup.model_rate, engine.load = setup.model_rate, download, load

    class Far(Flaky):
        def local_path(self, key):
            return None

        def fetch(self, key, etag, target, arrived):
            arrived(1)
            deadline = time.monotonic() + 30
            while not engine.loads:
                assert time.monotonic() < deadline, "the model waits for a recording to be there"
                time.sleep(0.01)
            self.store.fetch(key, etag, target, arrived)

    setup.wrap_input = partial(Far, failures=[])
    assert [o.state for o in setup.run(engine)] == [State.DONE] * 4


def test_a_worker_that_ends_by_itself_waits_for_the_model_on_its_way(setup, monkeypatch):
    """It would stay half-written in the cache else."""
    monkeypatch.setattr("transcription_worker.intake.SLOW_FETCH_SECONDS", 0.0)
    begun, whole = threading.Event(), threading.Event()

    def download():
        begun.set()
        time.sleep(0.5)
        whole.set()
        return 16_000

    class Gone(Flaky):
        def local_path(self, key):
            return None

        def fetch(self, key, etag, target, arrived):
            arrived(1)
            assert begun.wait(30)
            raise RecordingError(Reason.CHANGED, f"{key} is no longer the version that was listed")

    setup.model_rate, setup.wrap_input = download, partial(Gone, failures=[])
    assert [o.state for o in setup.run(PitchEngine())] == [State.FAILED] * 4
    assert whole.is_set()


def test_what_is_there_at_once_and_no_recording_needs_no_model(setup):
    for loudness in (10, 20, 30, 40):
        (setup.folder / f"in/{loudness}.wav").write_bytes(b"no sound")

    class Far(Flaky):
        def local_path(self, key):
            return None

    setup.wrap_input = partial(Far, failures=[])
    engine = PitchEngine()
    assert [o.state for o in setup.run(engine)] == [State.FAILED] * 4
    assert engine.loads == 0


def test_a_ledger_does_not_keep_the_model_waiting(setup):
    """Also where the last recording of a shard is one that the model refuses."""
    setup.attempts = 1
    writers = []

    def trouble(batch):
        if 40 in batch:
            raise ValueError("no such frame")

    class Watched(Flaky):
        def put(self, key, *args, **kwargs):
            if key.startswith(setup.layout.ledgers):
                writers.append(threading.current_thread().name)
            return self.store.put(key, *args, **kwargs)

    setup.workers = 2  # several shards, some with only one recording
    setup.wrap_ledgers = partial(Watched, failures=[])
    assert [o.state for o in setup.run(PitchEngine(trouble))] == [State.DONE] * 3 + [State.FAILED]
    assert len(writers) > 1
    assert [name for name in writers if not name.startswith("commit")] == []


def test_a_recording_replaced_while_it_is_read_is_changed(setup):
    class Touching(Flaky):
        def head(self, key):
            info = self.store.head(key)
            path = self.store.local_path(key)
            if key == "20.wav":
                os.utime(path, ns=(1, len(self.failures)))
                self.failures.append(key)
            return info

    setup.wrap_input = partial(Touching, failures=[])
    outcomes = setup.run(PitchEngine())
    assert outcomes[1].reason is Reason.CHANGED
    assert outcomes[1].attempts == 1


def test_what_a_dead_worker_left_is_announced_and_worked_one_at_a_time(setup):
    next(setup.claims("dead").take(frozenset))
    assert [o.state for o in setup.run(PitchEngine())] == [State.DONE] * 4
    announced = [i.key for i in setup.output.list(setup.layout.claims) if i.key.count(".") == 2]
    assert len(announced) == 1


def test_a_recording_that_killed_its_worker_too_often_is_given_up_alone(setup):
    next(setup.claims("life 1").take(frozenset))  # the first start is not announced
    for life in ("life 2", "life 3"):
        claims = setup.claims(life)
        claims.announce(next(claims.take(frozenset)), 0)
    outcomes = setup.run(PitchEngine())
    assert sorted(o.state for o in outcomes) == [State.DONE] * 3 + [State.FAILED]
    lost = next(o for o in outcomes if o.state is State.FAILED)
    assert lost.reason is Reason.WORKER_LOST
    assert "started 3 times" in lost.message


def test_a_worker_that_was_lost_for_good_is_backed_up(setup):
    setup.workers = 2
    lost = Setup(setup.folder, index=1, workers=2)
    next(lost.claims("lost").take(frozenset))
    assert [o.state for o in setup.run(PitchEngine())] == [State.DONE] * 4


def test_a_worker_does_not_work_on_what_others_have_finished(setup, monkeypatch, caplog):
    for module in ("claims", "feed"):
        monkeypatch.setattr(f"transcription_worker.{module}.LOOK_SECONDS", 0.1)
    caplog.set_level(logging.INFO)
    setup.workers, setup.batch_seconds = 2, 1.0

    def be_overtaken(batch):
        if setup.texts():
            return
        Setup(setup.folder, index=1, workers=2, scratch="other").run(PitchEngine())
        deadline = time.monotonic() + 30
        while "others have finished" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.05)

    engine = PitchEngine(be_overtaken)
    assert [o.state for o in setup.run(engine)] == [State.DONE] * 4
    assert len(engine.batches) == 1
    assert "others have finished what this worker still holds" in caplog.text


def test_a_worker_that_others_overtake_before_it_heard_anything_loads_no_model(setup, monkeypatch, caplog):
    for module in ("claims", "feed"):
        monkeypatch.setattr(f"transcription_worker.{module}.LOOK_SECONDS", 0.1)
    caplog.set_level(logging.INFO)
    setup.workers = 2
    overtaken = threading.Lock()

    class Overtaken(Flaky):
        def head(self, key):
            with overtaken:
                if not setup.texts():
                    Setup(setup.folder, index=1, workers=2, scratch="other").run(PitchEngine())
            deadline = time.monotonic() + 30
            while "others have finished" not in caplog.text and time.monotonic() < deadline:
                time.sleep(0.05)
            return self.store.head(key)

    setup.wrap_input = partial(Overtaken, failures=[])
    engine = PitchEngine()
    assert [o.state for o in setup.run(engine)] == [State.DONE] * 4
    assert engine.loads == 0
    assert "others have finished what this worker still holds" in caplog.text


def test_a_worker_that_others_overtake_while_its_model_arrives_waits_for_it_no_longer(setup, monkeypatch):
    for module in ("claims", "feed"):
        monkeypatch.setattr(f"transcription_worker.{module}.LOOK_SECONDS", 0.1)
    setup.workers = 2
    others = threading.Lock()

    def download():
        with others:
            if not setup.texts():
                Setup(setup.folder, index=1, workers=2, scratch="other").run(PitchEngine())
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if setup.progress.ending:
                raise Stopped
            time.sleep(0.05)
        raise AssertionError("it goes on")

    setup.model_rate = download
    engine = PitchEngine()
    assert [o.state for o in setup.run(engine)] == [State.DONE] * 4
    assert engine.loads == 0


@pytest.mark.parametrize("where", ["load", "transcribe"])
def test_a_failed_device_ends_the_worker_also_in_the_middle_of_an_inherited_shard(setup, where):
    def fail(*_):
        raise RetryableError("The GPU failed")

    next(setup.claims("dead").take(frozenset))
    engine = PitchEngine(fail) if where == "transcribe" else PitchEngine()
    if where == "load":
        engine.load = fail
    with pytest.raises(RetryableError, match="The GPU failed"):
        setup.run(engine)


def test_a_recording_whose_transcript_cannot_be_named_fails_alone_in_an_inherited_shard(setup):
    write_tone(setup.folder / f"in/{'x' * 249}.wav", 50)
    next(setup.claims("dead").take(frozenset))
    outcomes = setup.run(PitchEngine())
    assert sorted(o.state for o in outcomes) == [State.DONE] * 4 + [State.FAILED]


def test_a_ledger_that_fails_as_nobody_foresaw_ends_the_worker(setup):
    class Broken(Flaky):
        def put(self, key, *args, **kwargs):
            if key.startswith(setup.layout.ledgers):
                raise ValueError("no such number")
            return self.store.put(key, *args, **kwargs)

    setup.wrap_ledgers = partial(Broken, failures=[])
    with pytest.raises(ValueError, match="no such number"):
        setup.run(PitchEngine())
    assert len(setup.texts()) == 4


@pytest.mark.parametrize("heard", [True, False])
def test_an_outcome_that_fails_as_nobody_foresaw_ends_the_worker(setup, heard):
    def trouble(batch):
        if not heard:
            raise ValueError("no such frame")

    def settled(outcome, shard):
        raise LookupError("no such counter")

    setup.attempts = 1
    setup.progress.settled = settled
    with pytest.raises(LookupError, match="no such counter"):
        setup.run(PitchEngine(trouble))
