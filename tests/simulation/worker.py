"""One life of one worker in virtual time: the real claims, feeder, settlement, commits and queues around a model that
takes audio / speed. What is fetched and decoded is time alone."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

from tests.simulation.clock import Process, World
from tests.simulation.store import RemoteStore
from transcription_worker.assemble import Heard, assemble
from transcription_worker.batch import BatchSize
from transcription_worker.claims import Claims
from transcription_worker.commit import Committer, Overwrite
from transcription_worker.engines.protocol import Recognition
from transcription_worker.feed import Feeder
from transcription_worker.flow import Budget, Finished, Stopped, WorkQueue
from transcription_worker.layout import JobLayout
from transcription_worker.plan import Plan, read_plan, read_shard
from transcription_worker.progress import Progress
from transcription_worker.settle import Settlement
from transcription_worker.task import Task
from transcription_worker.transcript import Provenance, Source, Transcript
from transcription_worker.widths import BATCH_SECONDS, BUFFERED_SECONDS, READERS, SURE_BATCH_SECONDS
from transcription_worker.work_job import SHARDS_KEPT

SEGMENT_SECONDS = 60.0
FETCH_SPEED = 5000.0
"""Audio seconds that one reader fetches and decodes in a second."""
ATTEMPTS = 3
HEARD = Recognition("")


@dataclass(frozen=True, slots=True)
class Piece:
    task: Task
    index: int
    start: float
    seconds: float


@dataclass(eq=False)
class Life:
    """From a pod's start to its end, whatever that is. `heard_seconds` is audio that its model went through."""

    world: World
    store: RemoteStore
    layout: JobLayout
    durations: dict[str, float]
    index: int
    workers: int
    number: int
    speed: float
    load_seconds: float
    ended: Callable[[], None]
    process: Process = field(default_factory=Process)
    heard_seconds: float = 0.0
    died: float = math.inf
    _pauses: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        time = self.world.time
        self._ready = self.world.now + self.load_seconds
        self.identity = f"{self.index}/pod-{self.number}"
        self.rng = random.Random(self.identity)
        self.queue: WorkQueue[Task] = WorkQueue(READERS, time)
        self.audio = Budget(BUFFERED_SECONDS, time)
        self.batch_size = BatchSize(BATCH_SECONDS, SURE_BATCH_SECONDS)
        self.pieces: deque[Piece] = deque()
        self.changed = time.condition()
        self.fed = False
        self.over = False
        self.committer = Committer(
            self.store,
            job_id=self.layout.job_id,
            model_digest="m",
            options_digest="o",
            formats=["json"],
            overwrite=Overwrite.IF_CHANGED,
            conditional_writes=True,
        )
        self.settlement = Settlement(
            output=self.store,
            layout=self.layout,
            committer=self.committer,
            progress=Progress(),
            identity=self.identity,
            now=lambda: f"{self.world.now:.3f}",
            attempts=ATTEMPTS,
            conditional_writes=True,
            retry=self.queue.put_back,
            away=lambda: None,
            failed=self._fail,
            settled=self._end_when_settled,
        )

    def begin(self) -> None:
        start = partial(self.world.start, self.process)
        start(self._feed)
        for _ in range(READERS):
            start(self._read_all)
        start(self._own_model)

    def die(self) -> None:
        self.process.alive = False
        self.died = self.world.now

    def freeze(self, seconds: float) -> None:
        self.world.freeze(self.process, seconds)
        if self.world.now < self._ready:
            self._ready += seconds
        else:
            self._pauses.append((self.world.now, self.world.now + seconds))

    def spans(self) -> list[tuple[float, float, float]]:
        """From, to, speed: when the model could work, were there always something; pauses count as negative speed."""
        spans = [(self._ready, self.died, self.speed), *((a, min(b, self.died), -self.speed) for a, b in self._pauses)]
        return [(begin, end, speed) for begin, end, speed in spans if begin < end]

    def _fail(self, error: BaseException) -> None:
        raise error

    def _feed(self) -> None:
        plan: Plan = read_plan(self.store, self.layout)
        shard = lru_cache(SHARDS_KEPT)(partial(read_shard, self.store, self.layout, plan))
        claims = Claims(
            self.store,
            self.layout,
            index=self.index,
            workers=self.workers,
            shards=plan.shards,
            identity=self.identity,
            speed=lambda: self.speed if self.heard_seconds else 0.0,
            read_shard=shard,
            rng=self.rng,
        )
        feeder = Feeder(
            settlement=self.settlement,
            claims=claims,
            read_shard=shard,
            queue=self.queue,
            audio=self.audio,
            batch_seconds=lambda: self.batch_size.seconds,
            identity=self.identity,
            attempts=ATTEMPTS,
            ended=lambda: self.over,
            blameless=lambda: True,
            time=self.world.time,
        )
        try:
            feeder.run(claims.take)
            self.fed = True
            self._end_when_settled()
            feeder.watch()
        except Stopped:
            return
        except Finished:
            self._end()

    def _end_when_settled(self) -> None:
        if self.fed and self.settlement.open_recordings == 0:
            self._end()

    def _end(self) -> None:
        if not self.over:
            self.over = True
            self.queue.stop()
            self.audio.stop()
            self.changed.notify_all()
            self.ended()

    def _read_all(self) -> None:
        while (task := self.queue.get()) is not None:
            try:
                self._read(task)
            except Stopped:
                return

    def _read(self, task: Task) -> None:
        if self.settlement.settle_if_current(task):
            return
        recording = task.recording
        self.store.fetch(recording.key, recording.etag, Path())
        seconds = self.durations[recording.key]
        count = max(1, math.ceil(seconds / SEGMENT_SECONDS))
        task.channels = (None,)
        for index in range(count):
            piece = Piece(task, index, index * seconds / count, seconds / count)
            self.world.sleep(piece.seconds / FETCH_SPEED)
            self.audio.acquire(piece.seconds)
            task.add_piece()
            self.pieces.append(piece)
            self.changed.notify_all()
        uri = f"{self.store.uri}/{recording.key}"
        task.source = Source(uri, recording.key, recording.etag, recording.size, seconds, 16_000, 1, "flac")
        if task.decoded():
            self._commit(task)

    def _own_model(self) -> None:
        self.world.sleep(self.load_seconds)
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.over or bool(self.pieces))
            if self.over:
                return
            self._run_batch(self._next_batch())

    def _next_batch(self) -> list[Piece]:
        batch = [self.pieces.popleft()]
        size = batch[0].seconds
        while self.pieces and size + self.pieces[0].seconds <= self.batch_size.seconds:
            batch.append(self.pieces.popleft())
            size += batch[-1].seconds
        return batch

    def _run_batch(self, batch: list[Piece]) -> None:
        seconds = sum(piece.seconds for piece in batch)
        took = seconds / self.speed
        self.world.sleep(took)
        self.heard_seconds += seconds
        self.batch_size.took(seconds, took)
        self.audio.release(seconds)
        for piece in batch:
            piece.task.timings.model += took * piece.seconds / seconds
            if piece.task.hear(Heard(None, piece.index, piece.start, piece.start + piece.seconds, HEARD)):
                self.world.start(self.process, partial(self._commit, piece.task))

    def _commit(self, task: Task) -> None:
        assert task.source
        provenance = Provenance(self.layout.job_id, "model", "m", "o", "fake 1", "simulation", "float32")
        self.settlement.commit(task, Transcript(task.source, provenance, assemble(task.heard(), task.channels)))
