"""The bounded queues of the pipeline. Every wait ends when the pipeline is stopped; nothing here knows of audio."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Condition(Protocol):
    """What is used of `threading.Condition`."""

    def __enter__(self) -> bool: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...
    def wait(self, timeout: float | None = None) -> bool: ...
    def wait_for(self, predicate: Callable[[], bool], timeout: float | None = None) -> bool: ...
    def notify_all(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Time:
    """How those who work at once wait for each other, and by which clock: the machine's, or a simulation's."""

    condition: Callable[[], Condition] = threading.Condition
    monotonic: Callable[[], float] = time.monotonic


REAL_TIME = Time()


class Stopped(Exception):
    """The pipeline drains: whoever waits gives up its recording, which stays undone for a successor."""


class Finished(Exception):
    """Others have finished all that this worker still holds: it ends, and leaves it."""


class Budget:
    """So much of something (bytes on disk, seconds of audio) may be in flight at once.

    One item that is larger than the whole budget is let through alone, so that nothing is too large to be worked. Who
    came first goes first: small items would keep a large one waiting for as long as there are any.

    Args:
        limit: may change; whoever waits sees it with the next release.
    """

    def __init__(self, limit: float | Callable[[], float], time: Time = REAL_TIME) -> None:
        self._limit = limit if callable(limit) else lambda: limit
        self._used = 0.0
        self._waiting: deque[object] = deque()
        self._stopped = False
        self._changed = time.condition()

    @property
    def used(self) -> float:
        return self._used

    def acquire(self, amount: float) -> None:
        """Wait for room. Raises Stopped."""
        turn = object()

        def my_turn() -> bool:
            return self._waiting[0] is turn and (self._used == 0 or self._used + amount <= self._limit())

        with self._changed:
            self._waiting.append(turn)
            self._changed.wait_for(lambda: self._stopped or my_turn())
            self._waiting.remove(turn)
            if self._stopped:
                raise Stopped
            self._used += amount
            if self._waiting:  # the next one may have room too
                self._changed.notify_all()

    def take(self, amount: float) -> None:
        """The same for whoever may not wait: others then find less room, or none."""
        with self._changed:
            self._used += amount

    def wait_until(self, amount: float, timeout: float | None = None) -> bool:
        """Wait until no more than so much is in flight; False where it takes longer. Raises Stopped."""
        with self._changed:
            reached = self._changed.wait_for(lambda: self._stopped or self._used <= amount, timeout)
            if self._stopped:
                raise Stopped
            return reached

    def wait_stopped(self, timeout: float) -> None:
        """Wait, and raise Stopped as soon as that is so."""
        with self._changed:
            if self._changed.wait_for(lambda: self._stopped, timeout):
                raise Stopped

    def release(self, amount: float) -> None:
        with self._changed:
            self._used -= amount
            if self._used < 1e-6:
                self._used = 0.0
            self._changed.notify_all()

    @contextmanager
    def hold(self, amount: float) -> Iterator[None]:
        self.acquire(amount)
        try:
            yield
        finally:
            self.release(amount)

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


class WorkQueue(Generic[T]):
    """A bounded queue whose items may be put back with a delay. Retries that are due come before what is new."""

    def __init__(self, size: int, time: Time = REAL_TIME) -> None:
        self._size = size
        self._fresh: deque[T] = deque()
        self._delayed: list[tuple[float, int, T]] = []
        self._order = itertools.count()
        self._closed = False
        self._stopped = False
        self._clock = time.monotonic
        self._changed = time.condition()

    def __len__(self) -> int:
        return len(self._fresh) + len(self._delayed)

    def put(self, item: T) -> None:
        """Wait for room. Raises Stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or len(self._fresh) < self._size)
            if self._stopped:
                raise Stopped
            self._fresh.append(item)
            self._changed.notify_all()

    def wait_empty(self, timeout: float | None = None) -> bool:
        """Wait until everything that was put is taken out; what was put back with a delay is not waited for. False
        where it takes longer. Raises Stopped."""
        with self._changed:
            emptied = self._changed.wait_for(lambda: self._stopped or not self._fresh, timeout)
            if self._stopped:
                raise Stopped
            return emptied

    def put_back(self, item: T, delay: float) -> None:
        """Never waits; the item comes out again in `delay` seconds or later."""
        with self._changed:
            heapq.heappush(self._delayed, (self._clock() + delay, next(self._order), item))
            self._changed.notify_all()

    def get(self) -> T | None:
        """The next item that is due; None when the queue is closed and empty, or stopped."""
        with self._changed:
            while not self._stopped:
                now = self._clock()
                if self._delayed and self._delayed[0][0] <= now:
                    return heapq.heappop(self._delayed)[2]
                if self._fresh:
                    item = self._fresh.popleft()
                    self._changed.notify_all()
                    return item
                if self._closed and not self._delayed:
                    return None
                self._changed.wait(self._delayed[0][0] - now if self._delayed else None)
            return None

    def close(self) -> None:
        """Nothing new will come; `get` still gives what is there."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
