"""A pipeline over directories with a stand-in engine: whatever is heard is how loud a recording is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from transcription_worker.claims import Claims
from transcription_worker.commit import Committer, Overwrite
from transcription_worker.engines.protocol import Recognition
from transcription_worker.intake import IntakeOptions
from transcription_worker.layout import JobLayout
from transcription_worker.outcome import Outcome, read_outcomes
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
    wrap_ledgers: Callable[[Store], Store] = lambda store: store
    progress: Progress = field(default_factory=Progress)
    model_rate: Callable[[], int] = lambda: RATE

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
                output_store=self.wrap_ledgers(self.output),
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
                intake=IntakeOptions("mix", 5.0, 3600, self.model_rate, 1 << 30),
                options=PipelineOptions(
                    readers=4,
                    decoders=1,
                    committers=2,
                    batch_seconds=self.batch_seconds,
                    largest_batch_seconds=self.batch_seconds,
                    sure_batch_seconds=self.batch_seconds,
                    buffered_seconds=60.0,
                    buffered_batches=0.0,
                    attempts=self.attempts,
                    conditional_writes=True,
                ),
                progress=self.progress,
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


def write_tone(path, loudness, seconds=1.0):
    wave = np.sign(np.sin(np.arange(int(RATE * seconds)) * 0.3)) * loudness / 100
    sf.write(path, wave.astype(np.float32), RATE, subtype="FLOAT")


def four_tones(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    """Recordings of four loudnesses, and no wait between attempts."""
    monkeypatch.setattr("transcription_worker.settle.BACKOFF_SECONDS", 0.01)
    (folder / "in").mkdir()
    for loudness in (10, 20, 30, 40):
        write_tone(folder / f"in/{loudness}.wav", loudness)
    return Setup(folder)
