"""Virtual time: everything that runs at once is a greenlet, one runs at a time, and waiting costs nothing.

Deterministic: what is due at the same moment runs in the order in which it was asked for.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import greenlet

from transcription_worker.flow import Time


@dataclass(eq=False, slots=True)
class Process:
    """What lives, freezes and dies together."""

    alive: bool = True


@dataclass(eq=False, slots=True)
class Wait:
    process: Process
    thread: greenlet.greenlet
    over: bool = False
    ready: Callable[[], bool] | None = None
    """What it waits for; None: any change."""


@dataclass(eq=False)
class World:
    """The clock, and who is due when. `now` in seconds since the beginning."""

    now: float = 0.0
    _due: list[tuple[float, int, Wait]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)
    _hub: greenlet.greenlet = field(default_factory=greenlet.getcurrent)
    _processes: dict[greenlet.greenlet, Process] = field(default_factory=dict)

    @property
    def time(self) -> Time:
        return Time(lambda: VirtualCondition(self), lambda: self.now)

    def start(self, process: Process, run: Callable[[], None], delay: float = 0.0) -> None:
        """Run something as a thread of a process."""

        def run_and_forget() -> None:
            run()
            self._processes.pop(greenlet.getcurrent(), None)

        thread = greenlet.greenlet(run_and_forget, self._hub)
        self._processes[thread] = process
        self.wake(Wait(process, thread), delay)

    def sleep(self, seconds: float) -> None:
        self.wake(self.wait_here(), seconds)
        self._hub.switch()

    def wait_here(self, ready: Callable[[], bool] | None = None) -> Wait:
        thread = greenlet.getcurrent()
        return Wait(self._processes[thread], thread, ready=ready)

    def wake(self, wait: Wait, delay: float = 0.0) -> None:
        heapq.heappush(self._due, (self.now + delay, next(self._order), wait))

    def switch(self) -> None:
        """Let others run until somebody wakes this thread."""
        self._hub.switch()

    def freeze(self, process: Process, seconds: float) -> None:
        """Whatever the process waits for comes so much later, as for one that is stopped by a signal."""
        self._due = [
            (when + seconds if wait.process is process else when, order, wait) for when, order, wait in self._due
        ]
        heapq.heapify(self._due)

    def run(self, until: float = math.inf) -> None:
        """Until nobody has anything left to do, or the clock says so."""
        while self._due and self._due[0][0] <= until:
            when, _, wait = heapq.heappop(self._due)
            if wait.over or not wait.process.alive:
                continue
            self.now = when
            wait.over = True
            wait.thread.switch()


class VirtualCondition:
    """`threading.Condition` in virtual time. Its lock is the rule that only who waits lets others run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waits: list[Wait] = []

    def __enter__(self) -> bool:
        return True

    def __exit__(self, *error: object) -> None:
        return

    def wait(self, timeout: float | None = None) -> bool:
        return self._wait(None, timeout)

    def _wait(self, ready: Callable[[], bool] | None, timeout: float | None) -> bool:
        wait = self._world.wait_here(ready)
        self._waits.append(wait)
        if timeout is not None:
            self._world.wake(wait, timeout)
        self._world.switch()
        return True

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        deadline = None if timeout is None else self._world.now + timeout
        while not predicate():
            left = None if deadline is None else deadline - self._world.now
            if left is not None and left <= 0:
                return False
            self._wait(predicate, left)
        return True

    def notify_all(self) -> None:
        waits, self._waits = self._waits, []
        for wait in waits:
            if wait.over:
                continue
            if wait.ready is None or wait.ready():
                self._world.wake(wait)
            else:
                self._waits.append(wait)
