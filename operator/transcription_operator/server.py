"""/healthz, /readyz and /metrics of the operator. Knows when the last pass was, and nothing of jobs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from transcription_operator.metrics import Metrics

STALE_SECONDS = 120.0
"""Longer than the slowest pass with every request timing out once."""


@dataclass
class Health:
    """Alive: a pass ended lately. Ready: the watches have brought what there is."""

    clock: Callable[[], float] = time.monotonic
    ready: bool = False
    _last_pass: float = field(init=False)

    def __post_init__(self) -> None:
        self._last_pass = self.clock()

    def passed(self) -> None:
        self._last_pass = self.clock()

    @property
    def age(self) -> float:
        """Seconds since the last pass."""
        return self.clock() - self._last_pass


class Server:
    """Serves until closed. Started inside a running event loop."""

    def __init__(self, health: Health, metrics: Metrics) -> None:
        self._health, self._metrics = health, metrics
        app = web.Application()
        app.add_routes(
            [web.get("/healthz", self._healthz), web.get("/readyz", self._readyz), web.get("/metrics", self._scrape)]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)

    async def start(self, port: int) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, None, port).start()

    async def close(self) -> None:
        await self._runner.cleanup()

    async def _healthz(self, request: web.Request) -> web.Response:
        age = self._health.age
        return web.json_response({"last_pass_age_seconds": round(age, 1)}, status=503 if age > STALE_SECONDS else 200)

    async def _readyz(self, request: web.Request) -> web.Response:
        return web.json_response({"ready": self._health.ready}, status=200 if self._health.ready else 503)

    async def _scrape(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._metrics.registry), headers={"Content-Type": content_type})
