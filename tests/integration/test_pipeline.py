"""The pipeline with a stand-in engine, so that failures can be placed exactly; all else is real."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from transcription_worker.claims import Claims
from transcription_worker.commit import Committer, Overwrite
from transcription_worker.engines.protocol import OutOfMemory, Recognition
from transcription_worker.errors import Reason, RecordingError, RetryableError
from transcription_worker.intake import IntakeOptions
from transcription_worker.layout import JobLayout
from transcription_worker.outcome import Outcome, State, read_outcomes
from transcription_worker.pipeline import Pipeline, PipelineOptions
from transcription_worker.plan import Recording, make_plan, read_shard
from transcription_worker.progress import Progress
from transcription_worker.scratch import Scratch
from transcription_worker.standing import with_standing
from transcription_worker.store import Store, open_store
from transcription_worker.timestamps import utc_now
from transcription_worker.transcript import Provenance

RATE = 16_000


@dataclass
class PitchEngine:
    """Says of each input how loud it is, in percent; `trouble` may raise for a batch."""

    trouble: Callable[[list[int]], None] = lambda batch: None
    loads: int = 0
    batches: list[list[int]] = field(default_factory=list)
    sample_rate: int = RATE
    name: str = "pitch 1"
    precision: str = "float32"
    callers: int = 1
    load_seconds: Mapping[str, float] = field(default_factory=dict)

    def load(self):
        self.loads += 1

    def transcribe(self, batch):
        loudness = [round(float(np.abs(samples).max()) * 100) for samples in batch]
        self.trouble(loudness)
        self.batches.append(loudness)
        return [Recognition(f"loud {n}") for n in loudness]


@dataclass
class Setup:
    """One job over directories."""

    folder: Path
    job_id: str = "job-1"
    overwrite: Overwrite = Overwrite.IF_CHANGED
    model: str = "sha256:a"
    index: int = 0
    workers: int = 1
    attempts: int = 3
    batch_seconds: float = 20.0
    scratch: str = "scratch"
    wrap_input: Callable[[Store], Store] = lambda store: store
    wrap_output: Callable[[Store], Store] = lambda store: store

    @property
    def input(self) -> Store:
        return open_store(str(self.folder / "in"))

    @property
    def output(self) -> Store:
        return open_store(str(self.folder / "out"))

    @property
    def layout(self) -> JobLayout:
        return JobLayout(self.job_id)

    def plan(self):
        with Scratch(self.folder / self.scratch, min_free_bytes=0) as scratch:
            recordings = [Recording(i.key, i.etag, i.size) for i in self.input.list()]
            return make_plan(
                with_standing(
                    recordings,
                    self.output,
                    self.layout,
                    scratch,
                    formats=["json", "txt"],
                    options_digest="o",
                    overwrite=self.overwrite,
                ),
                self.output,
                self.layout,
                scratch,
                workers=self.workers,
                conditional_writes=True,
                now=utc_now,
            )

    def claims(self, life: str) -> Claims:
        plan = self.plan()
        return Claims(
            self.output, self.layout, index=self.index, workers=self.workers, shards=plan.shards, identity=life
        )

    def run(self, engine: PitchEngine) -> list[Outcome]:
        claims, plan = self.claims("test"), self.plan()
        with Scratch(self.folder / self.scratch, min_free_bytes=0) as scratch:
            pipeline = Pipeline(
                takes=claims.take,
                claims=claims,
                input_store=self.wrap_input(self.input),
                output_store=self.output,
                layout=self.layout,
                read_shard=partial(read_shard, self.output, self.layout, plan),
                committer=Committer(
                    self.wrap_output(self.output),
                    job_id=self.job_id,
                    model_digest=self.model,
                    options_digest="o",
                    formats=["json", "txt"],
                    overwrite=self.overwrite,
                    conditional_writes=True,
                ),
                provenance=Provenance(self.job_id, "m", self.model, "o", "", "s", ""),
                engine=lambda: engine,
                scratch=scratch,
                intake=IntakeOptions("mix", 5.0, 3600, lambda: RATE, 1 << 30),
                options=PipelineOptions(4, 1, 2, self.batch_seconds, self.batch_seconds, 60.0, self.attempts, True),
                progress=Progress(),
                identity="test",
                now=utc_now,
            )
            assert pipeline.run() is False
        assert [p.name for p in (self.folder / self.scratch).iterdir()] == [".transcription-scratch"]
        return self.outcomes()

    def outcomes(self) -> list[Outcome]:
        keys = [i.key for i in self.output.list(self.layout.ledgers)]
        return sorted((o for key in keys for o in read_outcomes(self.output.get(key))), key=lambda o: o.key)

    def texts(self) -> dict[str, str]:
        return {p.name: p.read_text() for p in (self.folder / "out").glob("*.txt")}


@pytest.fixture
def setup(tmp_path, monkeypatch):
    monkeypatch.setattr("transcription_worker.settle.BACKOFF_SECONDS", 0.01)
    (tmp_path / "in").mkdir()
    for loudness in (10, 20, 30, 40):
        write_tone(tmp_path / f"in/{loudness}.wav", loudness)
    return Setup(tmp_path)


def write_tone(path, loudness, seconds=1.0):
    wave = np.sign(np.sin(np.arange(int(RATE * seconds)) * 0.3)) * loudness / 100
    sf.write(path, wave.astype(np.float32), RATE, subtype="FLOAT")


def test_every_recording_gets_its_own_words(setup):
    outcomes = setup.run(PitchEngine())
    assert [o.state for o in outcomes] == [State.DONE] * 4
    assert setup.texts() == {f"{n}.wav.txt": f"loud {n}\n" for n in (10, 20, 30, 40)}
    assert all(o.output_etag == setup.output.head(o.output).etag for o in outcomes)


def test_a_long_recording_is_cut_and_put_together_in_order(setup):
    parts = [np.sign(np.sin(np.arange(RATE * 3) * 0.3)) * n / 100 for n in range(11, 25)]
    quiet = np.zeros(RATE // 5)
    sf.write(setup.folder / "in/long.wav", np.concatenate([x for p in parts for x in (p, quiet)]), RATE)
    setup.run(PitchEngine())
    said = setup.texts()["long.wav.txt"].split()
    levels = [int(word) for word in said if word != "loud"]
    assert levels == sorted(levels)
    assert levels[0] in (11, 12)
    assert levels[-1] == 24


def test_nothing_to_do_loads_no_model(setup):
    setup.run(PitchEngine())
    engine = PitchEngine()
    outcomes = Setup(setup.folder, job_id="job-2").run(engine)
    assert [o.state for o in outcomes] == [State.SKIPPED] * 4
    assert engine.loads == 0


@pytest.mark.parametrize(
    ("overwrite", "model", "state"),
    [
        (Overwrite.NEVER, "sha256:b", State.SKIPPED),
        (Overwrite.IF_CHANGED, "sha256:a", State.SKIPPED),
        (Overwrite.IF_CHANGED, "sha256:b", State.DONE),
        (Overwrite.ALWAYS, "sha256:a", State.DONE),
    ],
)
def test_overwrite_decides_about_transcripts_that_are_there(setup, overwrite, model, state):
    setup.run(PitchEngine())
    outcomes = Setup(setup.folder, job_id="job-2", overwrite=overwrite, model=model).run(PitchEngine())
    assert {o.state for o in outcomes} == {state}


def test_a_foreign_json_in_the_way_is_never_replaced_unless_always(setup):
    foreign = setup.folder / "out/10.wav.json"
    foreign.parent.mkdir()
    foreign.write_text('{"somebody": "else"}')
    outcomes = setup.run(PitchEngine())
    assert [o.state for o in outcomes] == [State.FAILED, State.DONE, State.DONE, State.DONE]
    assert outcomes[0].reason is Reason.OUTPUT_TAKEN
    assert foreign.read_text() == '{"somebody": "else"}'
    Setup(setup.folder, job_id="job-2", overwrite=Overwrite.ALWAYS).run(PitchEngine())
    assert "schemaVersion" in foreign.read_text()


class Unasked:
    """A store of outputs that nobody may ask."""

    def __init__(self, store: Store) -> None:
        pass


def test_what_an_earlier_ledger_proves_is_skipped_without_a_request(setup):
    first = setup.run(PitchEngine())
    engine = PitchEngine()
    second = Setup(setup.folder, job_id="job-2", wrap_output=Unasked).run(engine)
    third = Setup(setup.folder, job_id="job-3", wrap_output=Unasked).run(engine)  # job-2 made none: its ledger is proof
    assert engine.loads == 0
    for outcomes in (second, third):
        assert [o.state for o in outcomes] == [State.SKIPPED] * 4
        facts = [(o.key, o.etag, o.output, o.output_etag, o.model, o.options, o.duration, o.words) for o in outcomes]
        assert facts == [
            (o.key, o.etag, o.output, o.output_etag, o.model, o.options, o.duration, o.words) for o in first
        ]


def test_a_proof_of_another_model_is_none(setup):
    setup.run(PitchEngine())
    outcomes = Setup(setup.folder, job_id="job-2", model="sha256:b").run(PitchEngine())
    assert [o.state for o in outcomes] == [State.DONE] * 4


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


def test_a_stale_writer_does_not_replace_a_newer_transcript(setup):
    class Overtaken(PitchEngine):
        def transcribe(self, batch):
            write_tone(setup.folder / "in/10.wav", 11)
            Setup(setup.folder, job_id="job-newer", scratch="other").run(PitchEngine())
            return super().transcribe(batch)

    engine = Overtaken()
    outcomes = setup.run(engine)
    assert sorted(loud for batch in engine.batches for loud in batch) == [10, 20, 30, 40]
    assert setup.texts()["10.wav.txt"] == "loud 11\n"
    assert outcomes[0].reason is Reason.CHANGED


def test_a_replaced_transcript_leaves_no_format_of_the_older_one(setup):
    setup.run(PitchEngine())
    (setup.folder / "out/10.wav.ch0.srt").write_text("old")
    (setup.folder / "out/10.wav.srt").write_text("old")
    (setup.folder / "out/10.wav.bak").write_text("not ours")
    write_tone(setup.folder / "in/10.wav", 11)
    Setup(setup.folder, job_id="job-2").run(PitchEngine())
    left = sorted(p.name for p in (setup.folder / "out").glob("10.wav.*"))
    assert left == ["10.wav.bak", "10.wav.json", "10.wav.txt"]


def test_never_leaves_a_foreign_json_alone(setup):
    (setup.folder / "out").mkdir()
    (setup.folder / "out/10.wav.json").write_text('{"somebody": "else"}')
    setup.overwrite = Overwrite.NEVER
    outcomes = setup.run(PitchEngine())
    assert [o.state for o in outcomes] == [State.SKIPPED, State.DONE, State.DONE, State.DONE]
    assert (setup.folder / "out/10.wav.json").read_text() == '{"somebody": "else"}'
