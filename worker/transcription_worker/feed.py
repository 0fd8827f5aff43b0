"""From shards that are taken to recordings that readers may start: in order, shuffled, or one at a time.

Which shards, `claims.py` says; how a recording's way ends, `settle.py`.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator

from transcription_worker.claims import LOOK_SECONDS, Claims, Taken, WaitForModel
from transcription_worker.errors import Reason, RecordingError, RetryableError
from transcription_worker.flow import REAL_TIME, Budget, Stopped, Time, WorkQueue
from transcription_worker.plan import Recording
from transcription_worker.settle import Settlement
from transcription_worker.task import ShardRun, Task

log = logging.getLogger(__name__)

Takes = Callable[[Callable[[], frozenset[int]], WaitForModel, Callable[[float], None]], Iterator[Taken]]
"""Shards to work, one by one, given what tells which are in hand, what waits until so many batches are left, and what
waits so many seconds."""


class Feeder:
    """Fills the queue of one worker.

    Args:
        audio: decoded audio that waits for the model or is in it.
        batch_seconds: how much audio a batch may hold at the moment.
        batches_at_once: how many the model has in it.
        ended: whether the worker drains or fails.
        blameless: whether, if it does, no recording can be the cause.
    """

    def __init__(
        self,
        *,
        settlement: Settlement,
        claims: Claims | None,
        read_shard: Callable[[int], list[Recording]],
        queue: WorkQueue[Task],
        audio: Budget,
        batch_seconds: Callable[[], float],
        identity: str,
        attempts: int,
        ended: Callable[[], bool],
        blameless: Callable[[], bool],
        batches_at_once: int = 1,
        time: Time = REAL_TIME,
    ) -> None:
        self._settlement = settlement
        self._claims = claims
        self._read_shard = read_shard
        self._queue = queue
        self._audio = audio
        self._batch_seconds = batch_seconds
        self._beside = batches_at_once - 1
        self._rng = random.Random(identity)  # noqa: S311  keeps two backups from meeting
        self._attempts = attempts
        self._ended = ended
        self._blameless = blameless
        self._time = time

    def run(self, takes: Takes) -> None:
        """Feed shards until none is left to take.

        Raises:
            Stopped: the worker drains or fails.
            Finished: others have finished all that is left.
        """
        for taken in takes(self._settlement.in_hand, self._wait_for_model, self._audio.wait_stopped):
            self._feed_shard(taken)
            if self._ended():
                raise Stopped

    def watch(self) -> None:
        """Until the worker ends, look now and then whether others have finished what it still holds.

        Raises:
            Stopped: the worker drains, fails, or is through.
            Finished: others have finished all that is left.
        """
        while self._claims is not None:
            self._audio.wait_stopped(LOOK_SECONDS)
            self._claims.refuse_vain_work(self._settlement.in_hand())

    def _wait_for_model(self, batches: float, seconds: float | None = None) -> bool:
        """`batches` are told for a model that has one in it: one that has several needs as many more beside it."""
        room = (batches + self._beside) * self._batch_seconds() if batches else 0.0
        return self._queue.wait_empty(seconds) and self._audio.wait_until(room, seconds)

    def _feed_shard(self, taken: Taken) -> None:
        run = ShardRun(taken, self._read_shard(taken.shard), self._settlement.finish_shard, self._time)
        self._settlement.open_shard(taken, len(run.recordings))
        log.info("shard %d taken (%d recordings)", taken.shard, len(run.recordings))
        if taken.careful and self._claims is not None:
            self._feed_carefully(run, self._claims)
            return
        lines = [
            line for line in range(len(run.recordings)) if not self._settlement.settle_if_standing(Task(run, line))
        ]
        if taken.taker == 1:
            lines.reverse()  # meets the owner half-way
        elif taken.backup:
            self._rng.shuffle(lines)
        for line in lines:
            self._queue.put(Task(run, line))

    def _feed_carefully(self, run: ShardRun, claims: Claims) -> None:
        """One recording at a time, each announced, those that nobody died on first."""
        announced = claims.announcements(run.taken)
        lines = list(range(len(run.recordings)))
        if run.taken.backup:
            self._rng.shuffle(lines)
        for line in sorted(lines, key=lambda line: len(announced.get(line, ()))):
            task = Task(run, line)
            if self._settlement.settle_if_standing(task):
                continue
            try:
                if self._settlement.settle_if_current(task):
                    continue
                if not self._announce(task, claims, claims.deaths(announced.get(line, ()))):
                    continue
            except RecordingError as error:
                if error.retryable:
                    raise RetryableError(error.message) from error
                self._settlement.give_up(task, error)
                continue
            self._queue.put(task)
            while not run.wait_settled(line, self._ended, LOOK_SECONDS):
                if not self._ended():
                    claims.refuse_vain_work(self._settlement.in_hand())
                    continue
                if self._blameless():
                    claims.withdraw(run.taken, line)
                raise Stopped

    def _announce(self, task: Task, claims: Claims, deaths: int) -> bool:
        """Announce a recording; False where it was given up because its workers died on it too often."""
        # The first start, by the taker whose death made everybody careful, was not announced.
        if deaths >= max(1, self._attempts - 1):
            message = (
                f"{task.recording.key} was started {deaths + 1} times and its worker died each time: look at the "
                "recording and at the worker's memory limit."
            )
            self._settlement.give_up(task, RecordingError(Reason.WORKER_LOST, message))
            return False
        claims.announce(task.run.taken, task.line)
        return True
