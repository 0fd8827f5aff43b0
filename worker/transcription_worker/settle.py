"""How a recording's way ends: done, skipped, failed or another attempt; and the ledger of a shard that is finished."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from transcription_worker.claims import Taken
from transcription_worker.commit import Committed, Committer
from transcription_worker.errors import (
    ConfigurationError,
    PreconditionFailed,
    Reason,
    RecordingError,
    RetryableError,
    TranscriptionError,
)
from transcription_worker.fault_points import Point, reach
from transcription_worker.layout import JobLayout, output_key
from transcription_worker.outcome import Outcome, State, write_outcomes
from transcription_worker.progress import Progress
from transcription_worker.store.protocol import IfAbsent, Store
from transcription_worker.task import ShardRun, Task
from transcription_worker.time_use import Stopwatch
from transcription_worker.transcript import Transcript

log = logging.getLogger(__name__)

BACKOFF_SECONDS = 1.0
"""Before the second attempt; doubled before each further one."""
BACKOFF_LIMIT = 60.0


class Settlement:
    """Every task that was opened ends here once, on whatever thread its way ended.

    Args:
        retry: takes the next attempt and the seconds to wait before it.
        attempts: how many a recording has.
        away: asks the stores whether they answer at all; what is wrong where one does not.
        failed: called when the worker cannot go on: a ledger cannot be written, a store is away.
        settled: called after each outcome.
    """

    def __init__(
        self,
        *,
        output: Store,
        layout: JobLayout,
        committer: Committer,
        progress: Progress,
        identity: str,
        now: Callable[[], str],
        attempts: int,
        conditional_writes: bool,
        retry: Callable[[Task, float], None],
        away: Callable[[], TranscriptionError | None],
        failed: Callable[[BaseException], None],
        settled: Callable[[], None],
    ) -> None:
        self._output = output
        self._layout = layout
        self._committer = committer
        self._progress = progress
        self._identity = identity
        self._now = now
        self._attempts = attempts
        self._conditional = conditional_writes
        self._retry = retry
        self._away = away
        self._failed = failed
        self._settled = settled
        self._lock = threading.Lock()
        self._in_hand: dict[int, Taken] = {}
        self._open = 0

    def open_shard(self, taken: Taken, recordings: int) -> None:
        with self._lock:
            self._in_hand[taken.shard] = taken
            self._open += recordings

    def in_hand(self) -> frozenset[int]:
        """Shards that were opened and have no ledger yet."""
        with self._lock:
            return frozenset(self._in_hand)

    def unfinished(self) -> list[Taken]:
        """The claims of the shards in hand."""
        with self._lock:
            return list(self._in_hand.values())

    @property
    def open_recordings(self) -> int:
        with self._lock:
            return self._open

    def settle_if_standing(self, task: Task) -> bool:
        """Settle a recording whose transcript the plan has proven to stand; asks nobody."""
        standing = task.recording.standing
        if standing is None:
            return False
        found = Committed.earlier(task.recording, standing)
        if not self._committer.is_current(found, task.recording.etag):
            return False
        self.committed(task, found)
        return True

    def settle_if_current(self, task: Task) -> bool:
        """Settle a recording for which a current commit is found; else note in the task what its own will replace.

        Asks the store once for each attempt."""
        if task.looked_up:
            return False
        recording = task.recording
        found = self._committer.find(recording.key)
        if found and self._committer.is_current(found, recording.etag):
            self._add_missing_formats(recording.key, found)
            self.committed(task, found)
            return True
        task.replaces, task.looked_up = found, True
        return False

    def _add_missing_formats(self, key: str, found: Committed) -> None:
        try:
            self._committer.add_missing_formats(key, found)
        except RecordingError as error:
            if error.retryable:
                raise
            log.warning("%s keeps its transcript, but a format could not be added: %s", key, error.message)

    def commit(self, task: Task, transcript: Transcript) -> None:
        """Commit a transcript and settle its recording, also where another worker's commit came first.

        Raises:
            TranscriptionError: as `Committer.commit`.
        """
        watch = Stopwatch()
        committed = self._committer.commit(transcript, task.replaces)
        task.timings.commit = watch.seconds()
        if committed is None:
            committed = self._committer.find(task.recording.key)
            if committed is None:
                raise RecordingError(Reason.STORE_ERROR, "the transcript vanished while it was committed.")
            self._committer.restore_formats(task.recording.key)
        self.committed(task, committed)

    def committed(self, task: Task, found: Committed) -> None:
        """A commit stands: this job's own is done, an earlier job's makes the recording skipped."""
        own = self._committer.is_own(found, task.recording.etag)
        of_this_version = found.source_etag == task.recording.etag  # else `overwrite: Never` kept it
        self._settle(
            task,
            State.DONE if own else State.SKIPPED,
            output=output_key(task.recording.key, "json"),
            output_etag=found.etag if of_this_version else None,  # with it the ledger is proof for later jobs
            model=found.model or None,
            options=found.options or None,
            duration=found.duration,
            words=found.words,
        )

    def give_up(self, task: Task, error: RecordingError) -> None:
        """Another attempt after exponential back-off where that may help, else the failure.

        A store that is away is no failure of a recording: within minutes there would be no recording left to try. One
        that has just come back was away at the last attempt, so that another one is made while it is known to answer.
        """
        if not task.die():
            return
        message = error.message
        if task.recording.key not in message:
            message = f"{task.recording.key}: {message}"
        if error.retryable and task.attempt < self._attempts:
            self._try_again(task, error.reason, message)
            return
        if error.retryable and error.reason is Reason.STORE_ERROR:
            if away := self._away():
                self._failed(away)
                return
            if not task.store_answers:
                self._try_again(task, error.reason, message, store_answers=True)
                return
        self._settle(task, State.FAILED, reason=error.reason, message=message)

    def _try_again(self, task: Task, reason: Reason, message: str, *, store_answers: bool = False) -> None:
        delay = min(BACKOFF_LIMIT, BACKOFF_SECONDS * 2 ** (task.attempt - 1))
        log.warning("attempt %d in %.0f s: %s", task.attempt + 1, delay, message)
        self._progress.retried(reason)
        self._retry(task.next_attempt(store_answers=store_answers), delay)

    def _settle(self, task: Task, state: State, **fields: object) -> None:
        timings, recording = task.timings, task.recording
        outcome = Outcome(
            key=recording.key,
            etag=recording.etag,
            size=recording.size,
            state=state,
            attempts=task.attempt,
            worker=self._identity,
            finished=self._now(),
            fetch_seconds=round(timings.fetch, 3),
            decode_seconds=round(timings.decode, 3),
            model_seconds=round(timings.model, 3),
            commit_seconds=round(timings.commit, 3),
            **fields,  # type: ignore[arg-type]
        )
        self._progress.settled(outcome, task.run.taken.shard)
        task.run.settle(task.line, outcome)
        with self._lock:
            self._open -= 1
        self._settled()

    def finish_shard(self, run: ShardRun) -> None:
        """Write the ledger: the shard is finished for everybody."""
        shard = run.taken.shard
        reach(Point.LEDGER_BEFORE)
        try:
            self._output.put(
                self._layout.ledger(shard),
                write_outcomes(run.outcomes()),
                content_type="application/x-ndjson",
                condition=IfAbsent() if self._conditional else None,
            )
            log.info("shard %d finished", shard)
            reach(Point.LEDGER_PUT)
        except PreconditionFailed:
            log.info("shard %d was finished by another worker", shard)
        except ConfigurationError as error:
            self._failed(error)
            return
        except TranscriptionError as error:
            self._failed(RetryableError(f"The ledger of shard {shard} could not be written: {error}"))
            return
        except Exception as error:  # whoever settled its last recording could only try to settle it once more
            self._failed(error)
            return
        self._progress.ledgered(shard)
        with self._lock:
            self._in_hand.pop(shard, None)
