"""One running operator: the parts, put together, started and stopped as one."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from transcription_operator.config import Config
from transcription_operator.kube import Kube
from transcription_operator.loop import Loop
from transcription_operator.metrics import Metrics
from transcription_operator.progress import ProgressReader
from transcription_operator.reconcile import Reconciler, phases
from transcription_operator.server import Health, Server
from transcription_operator.world import Key, World

THREADS = 16
"""Requests to the API server at once."""


class Operation:
    """From `start` to `stop`; both in one event loop."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._health, self._metrics = Health(), Metrics()
        self._server = Server(self._health, self._metrics)
        self._loop: Loop | None = None
        self._reconciler: Reconciler | None = None
        self._progress: ProgressReader | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, world: World) -> None:
        # The default has five threads on one core: too few when the API server is slow.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "api"))
        self._metrics.count_jobs(lambda: phases(world))
        self._progress = ProgressReader()
        kube = await asyncio.to_thread(Kube, self._metrics.requested)
        self._reconciler = Reconciler(kube, self._config, world, self._progress, lambda: datetime.now(UTC))
        self._loop = Loop(self._reconciler.pass_over, self._config.resync_seconds, self._health, self._metrics)
        self._task = asyncio.create_task(self._loop.run(), name="passes")
        await self._server.start(self._config.http_port)
        self._health.ready = True

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._progress is not None:
            await self._progress.close()
        await self._server.close()

    def wake(self, key: Key) -> None:
        if self._loop is not None:
            self._loop.wake(key)

    def forget(self, key: Key) -> None:
        if self._loop is not None and self._reconciler is not None:
            self._loop.forget(key)
            self._reconciler.forget(key)
