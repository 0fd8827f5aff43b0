"""The owner of the model: it loads it when the first recording needs it, and takes batch after batch through it.

Never waits for a store. What becomes of a piece that was heard, or that failed, is the pipeline's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from transcription_worker.batch import BatchSize, SegmentPool
from transcription_worker.engines.protocol import Engine, Recognition
from transcription_worker.errors import RecordingError
from transcription_worker.fault_points import Point, reach
from transcription_worker.flow import Budget
from transcription_worker.infer import infer
from transcription_worker.progress import Progress
from transcription_worker.task import Piece
from transcription_worker.time_use import Step, Stopwatch


class ModelOwner:
    """Takes from `pool` until it is closed, on as many threads as the engine has callers.

    Args:
        audio: gets back the seconds of each batch.
        heard: called with each piece and what the model made of it, on any of the threads.
        failed: called with what ended a thread of its own.
    """

    def __init__(
        self,
        pool: SegmentPool[Piece],
        batch_size: BatchSize,
        audio: Budget,
        progress: Progress,
        heard: Callable[[Piece, Recognition | RecordingError], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._pool = pool
        self._batch_size = batch_size
        self._audio = audio
        self._progress = progress
        self._heard = heard
        self._failed = failed
        self._watch = Stopwatch()
        self._accounted = 0.0
        self._accounting = threading.Lock()

    def load(self, engine: Engine) -> None:
        watch = Stopwatch()
        with self._progress.time_use.doing(Step.START):
            engine.load()
        self._progress.model_loaded(watch.seconds(), engine.load_seconds)
        reach(Point.MODEL_LOADED)

    def run(self, engine: Engine) -> None:
        """Raises RetryableError: the device failed."""
        others = [
            threading.Thread(target=self._run_beside, args=(engine,), name=f"model-{n}", daemon=True)
            for n in range(1, engine.callers)
        ]
        for thread in others:
            thread.start()
        try:
            self._run(engine)
        except BaseException as error:
            self._failed(error)  # which closes the pool: the others leave too
            raise
        finally:
            for thread in others:
                thread.join()

    def _run_beside(self, engine: Engine) -> None:
        try:
            self._run(engine)
        except BaseException as error:
            self._failed(error)

    def _run(self, engine: Engine) -> None:
        while batch := self._pool.take():
            pieces = [piece for piece in batch if not piece.task.dead]
            try:
                if pieces:
                    self._transcribe(engine, pieces)
            finally:
                self._pool.done()
                self._audio.release(sum(piece.seconds for piece in batch))

    def _transcribe(self, engine: Engine, pieces: list[Piece]) -> None:
        begun = self._watch.seconds()
        did_not_fit = partial(self._batch_size.did_not_fit, self._batch_size.seconds)
        reach(Point.BATCH_SENT)
        with self._progress.time_use.doing(Step.MODEL):
            results = infer(engine, [piece.samples for piece in pieces], did_not_fit)
        reach(Point.BATCH_DONE)
        self._account(begun, pieces)
        for piece, result in zip(pieces, results, strict=True):
            self._heard(piece, result)

    def _account(self, begun: float, pieces: list[Piece]) -> None:
        """Each moment counts for one batch only, so that the model's seconds never exceed those of the clock."""
        audio = sum(piece.seconds for piece in pieces)
        with self._accounting:
            now = self._watch.seconds()
            spent = now - max(begun, self._accounted)
            self._accounted = now
            self._batch_size.took(audio, spent)
            self._progress.batch_done(audio, spent, len(pieces) * max(piece.seconds for piece in pieces))
            for piece in pieces:
                piece.task.timings.model += spent * piece.seconds / audio if audio else 0.0
