"""Length-bucketed batches: segments of like length go through the model together, bounded by padded audio seconds."""

from __future__ import annotations

import bisect
import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    @property
    def seconds(self) -> float: ...


S = TypeVar("S", bound=Sized)

SHORTEST_ROW = 1.0
"""Seconds that a row takes at least: engines pad shorter inputs up to this."""
MOST_ROWS = 256
"""However short they are: the graphs that NeMo captures of a search have as many rows as the largest batch so far, and
every later one computes them all."""
LINGER_SECONDS = 0.1
"""How long a batch that is not full waits for more: below what a person or a card notices."""


QUICK_SECONDS = 1.5
"""A full batch that took no longer may be doubled: a drain waits for the batch in flight."""
FULL = 0.75
"""The share of a batch's room from which on it says something about larger ones."""


TRIALS = 3
"""After so many full batches it is known how quick a size is: the best of them tells."""
GAIN = 1.05
"""What is no quicker than that keeps a drain waiting, and audio in memory, for nothing."""


class BatchSize:
    """How much audio a batch may hold. What each call of the model costs is paid once per batch, so that small models
    and quick devices want large batches; on slow ones a large batch gains nothing and keeps a drain waiting.

    Args:
        seconds: padded audio, to begin with.
        largest: up to which it is doubled while batches are quick; equal to `seconds` where the size is given.
        sure: beyond this a size is kept only where it makes `GAIN` of the speed of the one before (default: `largest`).
    """

    def __init__(self, seconds: float, largest: float, sure: float | None = None) -> None:
        self.seconds = seconds
        self._largest = largest
        self._sure = largest if sure is None else sure
        self._before = (seconds, 0.0)
        self._trials, self._best = 0, 0.0

    def took(self, audio_seconds: float, wall_seconds: float) -> None:
        """A batch with so much audio went through."""
        if audio_seconds < FULL * self.seconds:
            return
        self._trials += 1
        self._best = max(self._best, audio_seconds / max(wall_seconds, 1e-9))
        if self.seconds >= self._sure and self._trials < TRIALS:
            return
        size, speed = self._before
        if self._best < GAIN * speed and self.seconds > self._sure:
            self._settle(size)
        elif wall_seconds <= QUICK_SECONDS and self.seconds < self._largest:
            self._before = (self.seconds, self._best)
            self.seconds = min(2 * self.seconds, self._largest)
            self._trials, self._best = 0, 0.0

    def did_not_fit(self, seconds: float) -> None:
        """The device had no memory for a batch while so much was the size: half of it, from now on.

        Two that were begun with one size say one thing, not that half of it was too large as well."""
        self._settle(max(SHORTEST_ROW, min(self.seconds, seconds / 2)))

    def _settle(self, size: float) -> None:
        self.seconds = self._largest = size
        self._before = (size, 0.0)
        self._trials, self._best = 0, 0.0


@dataclass(order=True, slots=True)
class _Entry(Generic[S]):
    seconds: float
    arrival: int
    item: S


def choose_batch(lengths: Sequence[float], oldest: int, limit: float) -> tuple[int, int]:
    """The slice of sorted lengths to run next: it holds the oldest, and as many neighbours of like length as fit.

    Args:
        lengths: ascending, seconds.
        oldest: the position that must be in the slice, so that no length starves.
        limit: the most padded seconds (longest x count); one item alone may exceed it. Never more than `MOST_ROWS`.

    Returns:
        (first, end) with first <= oldest < end.
    """
    first, end = oldest, oldest + 1
    while end - first < MOST_ROWS:
        grow_up = end < len(lengths) and lengths[end] * (end + 1 - first) <= limit
        grow_down = first > 0 and lengths[end - 1] * (end - first + 1) <= limit
        if not (grow_up or grow_down):
            return first, end
        closer_above = grow_up and (
            not grow_down or lengths[end] - lengths[oldest] <= lengths[oldest] - lengths[first - 1]
        )
        if closer_above:
            end += 1
        else:
            first -= 1
    return first, end


class SegmentPool(Generic[S]):
    """Where decoders leave segments and the model's owner takes batches. Its bound is kept by a Budget outside."""

    def __init__(self, size: BatchSize) -> None:
        self._size = size
        self._entries: list[_Entry[S]] = []
        self._arrivals = itertools.count()
        self._seconds = 0.0
        self._under_way = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: S) -> None:
        with self._changed:
            entry = _Entry(max(item.seconds, SHORTEST_ROW), next(self._arrivals), item)
            bisect.insort(self._entries, entry)
            self._seconds += entry.seconds
            self._changed.notify_all()

    def take(self) -> list[S]:
        """The next batch, the longest items first; empty when the pool is closed. Its taker says when it is `done`."""
        with self._changed:
            while not self._closed:
                self._changed.wait_for(lambda: self._closed or self._entries)
                self._linger()
                if self._entries and not self._closed:  # else another taker was quicker
                    return self._choose()
            return []

    def done(self) -> None:
        """A batch that was taken is through."""
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()

    def _choose(self) -> list[S]:
        self._under_way += 1
        oldest = min(range(len(self._entries)), key=lambda i: self._entries[i].arrival)
        first, end = choose_batch([e.seconds for e in self._entries], oldest, self._size.seconds)
        taken = self._entries[first:end]
        del self._entries[first:end]
        self._seconds -= sum(e.seconds for e in taken)
        return [e.item for e in reversed(taken)]

    def _linger(self) -> None:
        """Wait for a full batch: a moment, or as long as another one keeps the model busy."""
        deadline = time.monotonic() + LINGER_SECONDS
        while not self._closed and self._seconds < self._size.seconds and len(self._entries) < MOST_ROWS:
            left = deadline - time.monotonic()
            if left <= 0 and not self._under_way:
                break
            self._changed.wait(None if self._under_way else left)

    def close(self) -> None:
        """Nobody takes any more: what is left is dropped with its recordings undone."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
