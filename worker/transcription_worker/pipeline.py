"""The flow of one worker: take shards -> read recordings -> batches -> model -> assemble -> commit -> ledger.

feeder (1 thread)   takes shards, hands out recordings
readers (threads)   fetch and decode, bounded by bytes in scratch and by seconds of audio in memory
the caller's thread owns the model (`model_owner.py`) and never waits for I/O
committers (threads) write transcripts, then outcomes, then the ledger of a finished shard
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

from transcription_worker.assemble import assemble
from transcription_worker.batch import BatchSize, SegmentPool
from transcription_worker.claims import Claims
from transcription_worker.commit import Committer
from transcription_worker.engines.protocol import Engine, Recognition
from transcription_worker.errors import (
    PreconditionFailed,
    Reason,
    RecordingError,
    TranscriptionError,
)
from transcription_worker.fault_points import Point, reach
from transcription_worker.feed import Feeder, Takes
from transcription_worker.flow import Budget, Finished, Stopped, WorkQueue
from transcription_worker.intake import DecoderPool, Intake, IntakeOptions
from transcription_worker.layout import JobLayout
from transcription_worker.model_owner import ModelOwner
from transcription_worker.outage import wait_out, what_is_away
from transcription_worker.plan import Recording
from transcription_worker.progress import Progress
from transcription_worker.scratch import Scratch
from transcription_worker.settle import Settlement
from transcription_worker.store.protocol import Store
from transcription_worker.task import Piece, Task
from transcription_worker.time_use import Step, Stopwatch
from transcription_worker.transcript import Provenance, Transcript

log = logging.getLogger(__name__)

UNWRITTEN_TRANSCRIPTS = 100
"""With so many that wait for a committer nothing more is read: a slow store must not fill the memory."""
LEAVE_SECONDS = 5.0
"""What threads that read have to leave when the worker drains."""


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """How wide the pipeline is. Batches grow from `batch_seconds` to `largest_batch_seconds` while they are quick, and
    beyond `sure_batch_seconds` only where that helps; decoded audio waits up to `buffered_seconds` and so many of them;
    `batches_at_once`: in the model, while a shard is taken; `words`: transcripts hold them, with their times."""

    readers: int
    decoders: int
    committers: int
    batch_seconds: float
    sure_batch_seconds: float
    largest_batch_seconds: float
    buffered_seconds: float
    buffered_batches: float
    attempts: int
    conditional_writes: bool
    batches_at_once: int = 1
    words: bool = True


@dataclass(frozen=True, slots=True)
class Depths:
    """Recordings `taken` and not settled, of them `waiting` for a reader; decoded audio that waits for the model or is
    in it."""

    taken: int = 0
    waiting: int = 0
    audio_seconds: float = 0.0


class Pipeline:
    """One run of one worker over the shards that it takes."""

    def __init__(
        self,
        *,
        takes: Takes,
        claims: Claims | None,
        input_store: Store,
        output_store: Store,
        layout: JobLayout,
        read_shard: Callable[[int], list[Recording]],
        committer: Committer,
        provenance: Provenance,
        engine: Callable[[], Engine],
        scratch: Scratch,
        intake: IntakeOptions,
        options: PipelineOptions,
        progress: Progress,
        identity: str,
        now: Callable[[], str],
    ) -> None:
        self._takes = takes
        self._claims = claims
        self._away = partial(what_is_away, (input_store, output_store))
        self._provenance = provenance
        self._make_engine = engine
        self._options = options
        self._progress = progress
        self._decoders = DecoderPool(options.decoders)
        self._queue: WorkQueue[Task] = WorkQueue(options.readers)
        batch_size = BatchSize(options.batch_seconds, options.largest_batch_seconds, options.sure_batch_seconds)
        self._audio = Budget(lambda: max(options.buffered_seconds, options.buffered_batches * batch_size.seconds))
        self._pool: SegmentPool[Piece] = SegmentPool(batch_size)
        self._model = ModelOwner(self._pool, batch_size, self._audio, progress, self._heard, self._fail)
        self._committers = ThreadPoolExecutor(options.committers, "commit")
        self._unwritten = Budget(UNWRITTEN_TRANSCRIPTS)
        self._engine_needed = threading.Event()
        self._intake = Intake(
            input_store,
            scratch,
            self._decoders,
            intake,
            audio_budget=self._audio,
            model_needed=self._engine_needed.set,
            fetched=progress.fetched,
            time_use=progress.time_use,
            deliver=self._pool.put,
        )
        self._draining = threading.Event()
        self._fed = threading.Event()
        self._left_to_others = False
        self._fatal: BaseException | None = None
        self._blameless = False
        self._settlement = Settlement(
            output=output_store,
            layout=layout,
            committer=committer,
            progress=progress,
            identity=identity,
            now=now,
            attempts=options.attempts,
            conditional_writes=options.conditional_writes,
            retry=self._queue.put_back,
            away=self._away,
            failed=partial(self._fail, blameless=True),
            settled=self._close_when_settled,
        )
        self._feeder = Feeder(
            settlement=self._settlement,
            claims=claims,
            read_shard=read_shard,
            queue=self._queue,
            audio=self._audio,
            batch_seconds=lambda: batch_size.seconds,
            identity=identity,
            attempts=options.attempts,
            ended=self._ended,
            blameless=self._is_blameless,
            batches_at_once=options.batches_at_once,
        )

    # -- control

    def run(self) -> bool:
        """Work until everything is settled or the pipeline is drained; True when it was drained.

        Raises:
            ConfigurationError: the model or a store cannot be used.
            RetryableError: the store went away.
        """
        threads = [threading.Thread(target=self._feed, name="feed", daemon=True)]
        threads += [
            threading.Thread(target=self._read_all, name=f"read-{n}", daemon=True) for n in range(self._options.readers)
        ]
        for thread in threads:
            thread.start()
        try:
            self._own_model()
        except BaseException as error:
            self._fatal = self._fatal or error
        finally:
            self._stop_intake()
            self._await(chain(threads, self._intake.threads))  # in this order: readers start those
            self._committers.shutdown(wait=True)
            self._decoders.close()
        if self._fatal and self._blameless:
            # Successors would use up the lives of this index one by one on a store that is away for a minute; and what
            # is handed back to one that is there again needs no care.
            wait_out(self._away, until=self._draining)
        if self._claims is not None and (self._blameless if self._fatal else self._draining.is_set()):
            reach(Point.DRAIN_FINISHED)
            self._hand_back(self._claims)
        if self._fatal:
            raise self._fatal
        return self._draining.is_set()

    def _hand_back(self, claims: Claims) -> None:
        """As far as the store is there to take it: else whoever comes next is careful, and no more than that."""
        try:
            for taken in self._settlement.unfinished():
                claims.hand_back(taken)
        except TranscriptionError as error:
            log.warning("claims could not be handed back: %s", error)

    def depths(self) -> Depths:
        """What is under way at this moment."""
        return Depths(
            taken=self._settlement.open_recordings,
            waiting=len(self._queue),
            audio_seconds=self._audio.used,
        )

    def _await(self, threads: Iterable[threading.Thread]) -> None:
        """Whoever waits for a store or a lock while the worker drains is left behind, with nothing to its name."""
        watch = Stopwatch()
        for thread in threads:
            while thread.is_alive() and not (self._draining.is_set() and watch.seconds() > LEAVE_SECONDS):
                thread.join(0.1 if self._draining.is_set() else 1.0)

    def drain(self) -> None:
        """Take nothing new, finish the batch in flight, commit what is whole. Safe in a signal handler's thread."""
        self._draining.set()
        reach(Point.DRAIN_BEGUN)
        self._stop_intake()

    def _stop_intake(self) -> None:
        self._progress.ending = True
        self._queue.stop()
        self._audio.stop()
        self._unwritten.stop()
        self._intake.stop()
        self._pool.close()
        self._engine_needed.set()

    def _fail(self, error: BaseException, *, blameless: bool = False) -> None:
        """End with this error. `blameless`: a store or the configuration is at fault, no recording and no model."""
        if self._left_to_others:  # what fails now is work that nobody needs
            return
        if self._fatal is None:
            self._fatal, self._blameless = error, blameless
        self._stop_intake()

    # -- feeder

    def _feed(self) -> None:
        try:
            self._feeder.run(self._takes)
            self._fed.set()
            self._close_when_settled()
            self._feeder.watch()
        except Stopped:
            return
        except Finished:
            log.info("every shard has its ledger: others have finished what this worker still holds")
            self._left_to_others = True
            self._progress.all_settled()
            self._stop_intake()
        except BaseException as error:
            self._fail(error, blameless=isinstance(error, TranscriptionError))

    def _is_blameless(self) -> bool:
        """Whether no recording under way is the cause of this worker's end."""
        return self._fatal is None or self._blameless

    def _ended(self) -> bool:
        return self._draining.is_set() or self._fatal is not None

    def _close_when_settled(self) -> None:
        if self._all_settled():
            self._progress.all_settled()
            self._stop_intake()

    # -- readers

    def _read_all(self) -> None:
        while (task := self._queue.get()) is not None:
            try:
                self._read(task)
            except Stopped:
                continue
            except RecordingError as error:
                self._refuse(task, error)
            except TranscriptionError as error:
                self._fail(error, blameless=True)
            except Exception as error:
                log.exception("reading %s", task.recording.key)
                self._refuse(task, RecordingError(Reason.INTERNAL, f"{type(error).__name__}: {error}"))

    def _give_up(self, task: Task, error: RecordingError) -> None:
        """What nobody foresaw ends the worker: a recording without an outcome would be waited for for ever."""
        try:
            self._settlement.give_up(task, error)
        except Exception as failure:
            self._fail(failure)

    def _refuse(self, task: Task, error: RecordingError) -> None:
        """In a drain the error may be the drain's doing: the recording is left to a successor."""
        if not self._draining.is_set():
            self._give_up(task, error)

    def _read(self, task: Task) -> None:
        self._unwritten.wait_until(UNWRITTEN_TRANSCRIPTS)
        with self._progress.time_use.doing(Step.FETCH):
            if self._settlement.settle_if_current(task):
                return
        self._intake.read(task)
        if task.decoded():
            self._submit(task)

    # -- the owner of the model

    def _own_model(self) -> None:
        self._engine_needed.wait()
        if self._ended() or self._left_to_others or self._all_settled():
            return
        engine = self._make_engine()
        self._model.load(engine)
        self._provenance = replace(self._provenance, engine=engine.name, precision=engine.precision)
        self._model.run(engine)

    def _all_settled(self) -> bool:
        return self._fed.is_set() and self._settlement.open_recordings == 0

    def _heard(self, piece: Piece, result: Recognition | RecordingError) -> None:
        task = piece.task
        if isinstance(result, RecordingError):
            # With the last recording of a shard its ledger is written, and the model waits for no store.
            self._committers.submit(self._give_up, task, result)
        elif task.hear(piece.heard(result)) and not task.dead:
            self._submit(task)

    # -- committers

    def _submit(self, task: Task) -> None:
        self._unwritten.take(1)
        self._committers.submit(self._commit, task)

    def _commit(self, task: Task) -> None:
        try:
            if task.source is None:
                raise AssertionError("a recording is committed before it is decoded")
            transcript = Transcript(
                task.source, self._provenance, assemble(task.heard(), task.channels, words=self._options.words)
            )
            with self._progress.time_use.doing(Step.COMMIT):
                self._settlement.commit(task, transcript)
        except RecordingError as error:
            self._give_up(task, error)
        except PreconditionFailed as error:
            self._give_up(task, RecordingError(Reason.STORE_ERROR, str(error)))
        except TranscriptionError as error:
            self._fail(error, blameless=True)
        except Exception as error:
            log.exception("committing %s", task.recording.key)
            self._give_up(task, RecordingError(Reason.INTERNAL, f"{type(error).__name__}: {error}"))
        finally:
            self._unwritten.release(1)
