"""What time it is to the API server: the clock by which its objects say when they were made and when they ended.

The clock of the operator's own machine may be wrong, and may jump. Deadlines and times to live are differences to the
API server's timestamps; taken by another clock, a jump of a day would end every job and delete every finished one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

TOLERANCE = timedelta(seconds=2)
"""A `Date` is cut to the second and has been on its way: within this the clock stays as it is, and goes evenly."""


def _machine_now() -> datetime:
    return datetime.now(UTC)


class ServerClock:
    """Set by every answer, carried on by the monotonic clock. Threads set it while the event loop reads."""

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, machine: Callable[[], datetime] = _machine_now
    ) -> None:
        self._monotonic, self._machine = monotonic, machine
        self._lock = threading.Lock()
        self._zero: datetime | None = None
        """The API server's time when the monotonic clock stood at 0."""

    def heard(self, date: str | None) -> None:
        """Take the `Date` of an answer; one that is missing or no date changes nothing."""
        try:
            said = parsedate_to_datetime(date or "")
        except ValueError:
            return
        if said.tzinfo is None:
            return
        with self._lock:
            zero = said.astimezone(UTC) - timedelta(seconds=self._monotonic())
            if self._zero is None or abs(zero - self._zero) > TOLERANCE:
                self._zero = zero

    def now(self) -> datetime:
        """Aware, UTC. The machine's own time where no answer has told any."""
        with self._lock:
            return self._machine() if self._zero is None else self._zero + timedelta(seconds=self._monotonic())
