"""How fast something goes of late: amounts per second over a sliding window."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

WINDOW_SECONDS = 60.0


class RecentSpeed:
    """Amount per second over the last minute, or since the first amount where that is less. Not thread-safe.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float], window: float = WINDOW_SECONDS) -> None:
        self._clock = clock
        self._window = window
        self._begin: float | None = None
        self._recent: deque[tuple[float, float]] = deque()
        self._sum = 0.0

    def add(self, amount: float, took: float) -> None:
        """So much was done in the last `took` seconds."""
        now = self._clock()
        if self._begin is None:
            self._begin = now - took
        if self._recent and now - self._recent[-1][0] < self._window / 60:  # memory stays bounded by the window
            when, before = self._recent.pop()
            self._recent.append((when, before + amount))
        else:
            self._recent.append((now, amount))
        self._sum += amount
        self._forget(now)

    def value(self) -> float:
        now = self._clock()
        self._forget(now)
        if self._begin is None or not self._recent:
            return 0.0
        return self._sum / max(1e-3, min(self._window, now - self._begin))

    def _forget(self, now: float) -> None:
        while self._recent and now - self._recent[0][0] > self._window:
            self._sum -= self._recent.popleft()[1]
        if not self._recent:
            self._sum = 0.0
