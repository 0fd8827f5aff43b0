"""One recording under way, and the shard that it belongs to. Shared by the stages of the pipeline."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from transcription_worker.assemble import Heard
from transcription_worker.claims import Taken
from transcription_worker.commit import Committed
from transcription_worker.engines.protocol import Recognition
from transcription_worker.flow import REAL_TIME, Time
from transcription_worker.outcome import Outcome
from transcription_worker.plan import Recording
from transcription_worker.segment import AudioSegment
from transcription_worker.transcript import Source


class ShardRun:
    """A shard in this worker's hand: collects outcomes until it is finished."""

    def __init__(
        self,
        taken: Taken,
        recordings: list[Recording],
        finish: Callable[[ShardRun], None],
        time: Time = REAL_TIME,
    ) -> None:
        self.taken = taken
        self.recordings = recordings
        self._finish = finish
        self._outcomes: dict[int, Outcome] = {}
        self._clock = time.monotonic
        self._changed = time.condition()

    def settle(self, line: int, outcome: Outcome) -> None:
        with self._changed:
            self._outcomes[line] = outcome
            finished = len(self._outcomes) == len(self.recordings)
        if finished:
            self._finish(self)
        with self._changed:
            self._changed.notify_all()

    def outcomes(self) -> list[Outcome]:
        return [self._outcomes[line] for line in range(len(self.recordings))]

    def wait_settled(self, line: int, stopped: Callable[[], bool], timeout: float) -> bool:
        """Wait for one recording's outcome; False when the pipeline was stopped first, or it takes longer."""
        deadline = self._clock() + timeout
        with self._changed:
            while line not in self._outcomes:
                if stopped() or self._clock() >= deadline:
                    return False
                self._changed.wait(0.2)
            return True


@dataclass(slots=True)
class Timings:
    """Wall seconds that one recording spent in each stage; `model` is its share of its batches."""

    fetch: float = 0.0
    decode: float = 0.0
    model: float = 0.0
    commit: float = 0.0


@dataclass(eq=False, slots=True)
class Task:
    """One attempt at one recording. A retry is a new Task, so that nothing of a failed attempt can reach it."""

    run: ShardRun
    line: int
    attempt: int = 1
    store_answers: bool = False
    """Whether the stores were asked before this attempt, and answered."""
    looked_up: bool = False
    """Whether the store was asked for a commit; then `replaces` is what stood there."""
    replaces: Committed | None = None
    source: Source | None = None
    channels: tuple[int | None, ...] = ()
    timings: Timings = field(default_factory=Timings)
    dead: bool = False
    _heard: list[Heard] = field(default_factory=list)
    _pieces: int = 0
    _decoded: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def recording(self) -> Recording:
        return self.run.recordings[self.line]

    def next_attempt(self, *, store_answers: bool = False) -> Task:
        return Task(self.run, self.line, self.attempt + 1, store_answers)

    def add_piece(self) -> None:
        with self._lock:
            self._pieces += 1

    def decoded(self) -> bool:
        """All pieces are known; True when all were heard already."""
        with self._lock:
            self._decoded = True
            return len(self._heard) == self._pieces

    def hear(self, heard: Heard) -> bool:
        """Keep what the model heard; True for the last piece of a recording that is decoded whole."""
        with self._lock:
            self._heard.append(heard)
            return self._decoded and len(self._heard) == self._pieces

    def heard(self) -> list[Heard]:
        return self._heard

    def die(self) -> bool:
        """Give the attempt up; False where it was given up before."""
        with self._lock:
            first, self.dead = not self.dead, True
            return first


@dataclass(frozen=True, eq=False, slots=True)
class Piece:
    """A segment on its way to the model; `seconds` is the length of its samples, at the engine's rate."""

    task: Task
    segment: AudioSegment
    seconds: float

    @property
    def samples(self) -> NDArray[np.float32]:
        return self.segment.samples

    def heard(self, recognition: Recognition) -> Heard:
        s = self.segment
        return Heard(s.channel, s.index, s.start, s.start + self.seconds, recognition, s.before, s.after)
