"""/healthz, /readyz and /metrics over a real socket."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.s3server import free_port
from transcription_api.names import Phase
from transcription_operator.metrics import Metrics
from transcription_operator.server import STALE_SECONDS, Health, Server


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@asynccontextmanager
async def serving(health, metrics):
    server, port = Server(health, metrics), free_port()
    await server.start(port)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

            async def get(path, **headers):
                async with session.get(path, headers=headers) as answer:
                    return answer.status, await answer.text(), answer.content_type

            yield get
    finally:
        await server.close()


def test_it_is_alive_as_long_as_passes_end():
    async def run():
        clock = Clock()
        health = Health(clock)
        async with serving(health, Metrics()) as get:
            clock.now += STALE_SECONDS
            assert (await get("/healthz"))[0] == 200
            clock.now += 1
            status, body, _ = await get("/healthz")
            assert status == 503 and json.loads(body) == {"last_pass_age_seconds": STALE_SECONDS + 1}
            health.passed()
            assert (await get("/healthz"))[0] == 200

    asyncio.run(run())


def test_it_is_ready_when_it_says_so():
    async def run():
        health = Health()
        async with serving(health, Metrics()) as get:
            assert (await get("/readyz"))[0] == 503
            health.ready = True
            assert (await get("/readyz"))[0] == 200

    asyncio.run(run())


def test_jobs_are_counted_by_phase_when_they_are_asked_for():
    async def run():
        metrics, phases = Metrics(), [Phase.RUNNING]
        metrics.count_jobs(lambda: phases)
        async with serving(Health(), metrics) as get:
            phases += [Phase.RUNNING, Phase.FAILED]
            text = (await get("/metrics"))[1]
            families = {family.name: family for family in text_string_to_metric_families(text)}
            found = {one.labels["phase"]: one.value for one in families["transcription_operator_jobs"].samples}
            assert found == {**{phase.value: 0 for phase in Phase}, "Running": 2, "Failed": 1}

    asyncio.run(run())


def test_metrics_come_in_the_format_that_the_scraper_asks_for():
    async def run():
        async with serving(Health(), Metrics()) as get:
            _, plain, kind = await get("/metrics")
            assert kind == "text/plain" and "# EOF" not in plain
            _, openmetrics, kind = await get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
            assert kind == "application/openmetrics-text" and openmetrics.endswith("# EOF\n")

    asyncio.run(run())
