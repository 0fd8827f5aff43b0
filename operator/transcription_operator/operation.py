"""One running operator: the parts, put together, started and stopped as one."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from transcription_operator import __version__
from transcription_operator.census import SECONDS as CENSUS_SECONDS
from transcription_operator.census import Census
from transcription_operator.config import Config
from transcription_operator.kube import Kube, KubeError, Rejected
from transcription_operator.listening import Listener
from transcription_operator.loop import Loop
from transcription_operator.metrics import Metrics
from transcription_operator.observed import ChildJob, Pod
from transcription_operator.progress import ProgressReader
from transcription_operator.reach import out_of_reach
from transcription_operator.reconcile import Reconciler, phases
from transcription_operator.server import Health, Server
from transcription_operator.world import Key, Record, World

log = logging.getLogger(__name__)

THREADS = 16
"""Requests to the API server at once."""
RETRY_SECONDS = 2.0

T = TypeVar("T")
Index = Mapping[Key, Iterable[T]]


class Operation:
    """From `start` to `stop`; both in one event loop."""

    def __init__(self, config: Config, left_out: Mapping[str, str] | None = None) -> None:
        """`left_out` are the namespaces that the config does not name because they are out of reach, and why."""
        self._config, self._left_out = config, left_out or {}
        self._health, self._metrics = Health(), Metrics()
        self._server = Server(self._health, self._metrics)
        self._loop: Loop | None = None
        self._listener: Listener | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, records: Index[Record], children: Index[ChildJob], pods: Index[Pod]) -> None:
        """The three are live views of what the watches bring."""
        # The default has five threads on one core: too few when the API server is slow.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "api"))
        kube = await asyncio.to_thread(Kube, self._metrics.requested)
        world = World(records, children, pods, Census(self._config.namespaces))
        self._metrics.count_jobs(lambda: phases(world))
        self._listener = Listener(ProgressReader(), self._config.resync_seconds, self.wake)
        reconciler = Reconciler(kube, self._config, world, self._listener, kube.clock.now)
        self._loop = Loop(reconciler.pass_over, self._config.resync_seconds, self._health, self._metrics)
        self._tasks = [
            asyncio.create_task(self._pass(kube, self._loop), name="passes"),
            asyncio.create_task(self._count(kube, world), name="census"),
        ]
        for task in self._tasks:
            task.add_done_callback(_end_with)
        await self._server.start(self._config.http_port)
        log.info(
            "transcription-operator %s watches %s; workers run %s unless their job names an image",
            __version__,
            f"the namespaces {', '.join(self._config.namespaces)}" if self._config.namespaces else "all namespaces",
            self._config.worker_image,
        )
        for namespace, why in self._left_out.items():
            log.error(
                "Namespace %s is left out: %s. Take it from watch.namespaces, or upgrade the release once it is there.",
                namespace,
                why,
            )

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._listener is not None:
            await self._listener.close()
        await self._server.close()

    async def _pass(self, kube: Kube, loop: Loop) -> None:
        """Passes for ever, the first once the API server has told the time: what is due is due by its clock."""
        while not await asyncio.to_thread(kube.answers):
            self._health.passed()
            await asyncio.sleep(RETRY_SECONDS)
        await loop.run()

    async def _count(self, kube: Kube, world: World) -> None:
        """Take the census again and again; the first proves that everything may be listed: ready."""
        while True:
            try:
                await asyncio.to_thread(world.census.take, kube)
            except KubeError as error:
                log.warning("The operator cannot list what it runs: %s", error)
                refused, pause = isinstance(error, Rejected), RETRY_SECONDS
            else:
                self._health.ready = True
                for key in world.jobs():
                    self.wake(key)
                refused, pause = False, CENSUS_SECONDS
            await asyncio.sleep(pause)
            if not refused and not self._left_out:
                continue
            if await asyncio.to_thread(self._reach_changed, kube):
                log.warning("Another set of namespaces can be watched: the operator starts anew.")
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def _reach_changed(self, kube: Kube) -> bool:
        """Whether a namespace has gone, or one that was left out is there. What kopf watches only a start changes."""
        try:
            refused = out_of_reach(kube, [*self._config.namespaces, *self._left_out])
        except KubeError:
            return False
        return refused.keys() != self._left_out.keys()

    def wake(self, key: Key) -> None:
        if self._loop is not None:
            self._loop.wake(key)

    def forget(self, key: Key) -> None:
        if self._loop is not None and self._listener is not None:
            self._loop.forget(key)
            self._listener.forget(key)


def _end_with(task: asyncio.Task[None]) -> None:
    """Half an operator is worse than none: where a task fails, Kubernetes starts the whole anew."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("%s failed", task.get_name(), exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)
