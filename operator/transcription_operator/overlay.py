"""What the operator itself has just written, until the watches have caught up with it.

Without it, a pass between a write and its echo would see the old state and write again.
"""

from __future__ import annotations

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
    """Own writes by name; `clock` in seconds."""

    clock: Callable[[], float] = time.monotonic
    _written: dict[str, tuple[float, T]] = field(default_factory=dict)
    _deleted: dict[str, float] = field(default_factory=dict)

    def wrote(self, name: str, item: T) -> None:
        self._written[name] = (self.clock() + ECHO_SECONDS, item)

    def deleted(self, uid: str) -> None:
        self._deleted[uid] = self.clock() + ECHO_SECONDS

    def newest(self, name: str, watched: T | None) -> T | None:
        """The later of what a watch shows and what was written; None for what was deleted."""
        self._forget()
        written = self._written.get(name, (0.0, None))[1]
        if watched is not None and (written is None or watched.version >= written.version):
            self._written.pop(name, None)
            written = watched
        return None if written is None or written.uid in self._deleted else written

    def _forget(self) -> None:
        now = self.clock()
        for name in [name for name, (end, _) in self._written.items() if end < now]:
            del self._written[name]
        for uid in [uid for uid, end in self._deleted.items() if end < now]:
            del self._deleted[uid]
