"""When passes happen: at once when a watch brings something, by the clock otherwise, never two over one job.

A pass that failed comes again after a while that doubles, so that a bad day of the API server is not made worse.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from transcription_operator.kube import KubeError, Unavailable
from transcription_operator.metrics import Metrics
from transcription_operator.server import Health
from transcription_operator.world import Key

log = logging.getLogger(__name__)

AT_ONCE = 32
"""A pass mostly waits: for the API server, and for workers that do not answer."""
IDLE_SECONDS = 10.0
"""Between two looks at whether there is anything to do: they are the pulse of the liveness probe."""
FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 60.0


@dataclass
class Loop:
    """Calls `pass_over(key)`, which returns the seconds until that job's next pass, or None.

    Attributes:
        resync_seconds: the loop looks around at least so often, also when there is no job.
    """

    pass_over: Callable[[Key], Awaitable[float | None]]
    resync_seconds: float
    health: Health
    metrics: Metrics
    _due: dict[Key, float] = field(default_factory=dict)
    _running: set[Key] = field(default_factory=set)
    _failures: dict[Key, int] = field(default_factory=dict)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self, key: Key) -> None:
        """Make a pass over this job as soon as can be."""
        self._due[key] = 0.0
        self._woken.set()

    def forget(self, key: Key) -> None:
        """The job is gone."""
        self._due.pop(key, None)
        self._failures.pop(key, None)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as passes:
            while True:
                self._woken.clear()
                now = asyncio.get_running_loop().time()
                for key in self._next(now):
                    self._due.pop(key)
                    self._running.add(key)
                    passes.create_task(self._one(key), name=f"pass {'/'.join(key)}")
                if not self._running:
                    self._passed()
                await self._sleep(now)

    def _next(self, now: float) -> Iterable[Key]:
        ready = [key for key, due in self._due.items() if due <= now and key not in self._running]
        return ready[: max(0, AT_ONCE - len(self._running))]

    async def _sleep(self, now: float) -> None:
        waits = [due - now for key, due in self._due.items() if key not in self._running and due > now]
        try:
            async with asyncio.timeout(min([self.resync_seconds, IDLE_SECONDS, *waits])):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _one(self, key: Key) -> None:
        try:
            with self.metrics.pass_seconds.time():
                again = await self.pass_over(key)
            self._failures.pop(key, None)
        except KubeError as error:
            self.metrics.errors.labels(type(error).__name__).inc()
            again = self._retry(key, error.seconds if isinstance(error, Unavailable) else FIRST_RETRY_SECONDS)
            log.warning("%s/%s: %s Next pass in %.0f s.", *key, error, again)
        except Exception:
            self.metrics.errors.labels("Unexpected").inc()
            again = self._retry(key, FIRST_RETRY_SECONDS)
            log.exception("%s/%s: the pass failed, next one in %.0f s", *key, again)
        self._running.discard(key)
        if again is not None:
            due = asyncio.get_running_loop().time() + again
            self._due[key] = min(self._due.get(key, due), due)
        self._passed()
        self._woken.set()

    def _retry(self, key: Key, seconds: float) -> float:
        self._failures[key] = self._failures.get(key, 0) + 1
        doubled = FIRST_RETRY_SECONDS * 2.0 ** min(self._failures[key] - 1, 10)
        return min(LONGEST_RETRY_SECONDS, max(seconds, doubled))

    def _passed(self) -> None:
        self.health.passed()
        self.metrics.passed()
