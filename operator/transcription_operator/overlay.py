"""What the operator itself has just written, until the watches have caught up with it.

Without it, a pass between a write and its echo would see the old state and write again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

ECHO_SECONDS = 30.0
"""A watch that has not shown a write after so long has missed it, or the object is gone."""


class Versioned(Protocol):
    """Something with a resourceVersion. Newer is larger (KEP-5504 makes official what etcd always did)."""

    @property
    def version(self) -> int: ...

    @property
    def uid(self) -> str: ...


T = TypeVar("T", bound=Versioned)


@dataclass
class Overlay(Generic[T]):
    """Own writes by name; `clock` in seconds. Threads write while the event loop reads."""

    clock: Callable[[], float] = time.monotonic
    _written: dict[str, tuple[float, T]] = field(default_factory=dict)
    _deleted: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wrote(self, name: str, item: T) -> None:
        with self._lock:
            self._written.pop(name, None)  # both stay in the order in which they end
            self._written[name] = (self.clock() + ECHO_SECONDS, item)

    def deleted(self, uid: str) -> None:
        with self._lock:
            self._deleted.pop(uid, None)
            self._deleted[uid] = self.clock() + ECHO_SECONDS

    def newest(self, name: str, watched: T | None) -> T | None:
        """The later of what a watch shows and what was written; None for what was deleted."""
        with self._lock:
            self._forget()
            written = self._written.get(name, (0.0, None))[1]
            if watched is not None and (written is None or watched.version >= written.version):
                self._written.pop(name, None)
                written = watched
            return None if written is None or written.uid in self._deleted else written

    def _forget(self) -> None:
        """Looks at the oldest alone: this is asked for every job at every event."""
        now = self.clock()
        while self._written and next(iter(self._written.values()))[0] < now:
            del self._written[next(iter(self._written))]
        while self._deleted and next(iter(self._deleted.values())) < now:
            del self._deleted[next(iter(self._deleted))]
