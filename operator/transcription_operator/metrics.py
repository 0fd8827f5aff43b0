"""The operator's metrics, in Prometheus names and units; docs/metrics.md explains them."""

from __future__ import annotations

import time
from collections import Counter as Count
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from transcription_api.names import Phase
from transcription_operator import __version__

PREFIX = "transcription_operator"


class Metrics:
    """One registry; nothing global."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._info = Gauge(f"{PREFIX}_info", "Version.", ["version"], registry=self.registry)
        self._info.labels(__version__).set(1)
        self.pass_seconds = Histogram(
            f"{PREFIX}_pass_seconds",
            "Time of one pass over one job: observe, decide, act.",
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
            registry=self.registry,
        )
        self.errors = Counter(
            f"{PREFIX}_errors_total", "Passes that ended in an error, by kind.", ["kind"], registry=self.registry
        )
        self._requests = Counter(
            f"{PREFIX}_api_requests_total",
            "Requests to the Kubernetes API beside watches; code 0 is no answer.",
            ["verb", "resource", "code"],
            registry=self.registry,
        )
        self._jobs = _Jobs()
        self.registry.register(self._jobs)
        self._last_pass = Gauge(
            f"{PREFIX}_last_pass_timestamp_seconds",
            "When a pass ended last, or when there was none to make (Unix time).",
            registry=self.registry,
        )

    def requested(self, verb: str, resource: str, code: int) -> None:
        self._requests.labels(verb, resource, str(code)).inc()

    def passed(self) -> None:
        self._last_pass.set(time.time())

    def count_jobs(self, phases: Callable[[], Iterable[Phase]]) -> None:
        """From now on every scrape counts these; to count at every event would be most of the work with many jobs."""
        self._jobs.phases = phases


class _Jobs(Collector):
    def __init__(self) -> None:
        self.phases: Callable[[], Iterable[Phase]] = lambda: ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every phase has a value, so that an alert on 0 works."""
        jobs = GaugeMetricFamily(f"{PREFIX}_jobs", "TranscriptionJobs by phase.", labels=["phase"])
        count = Count(self.phases())
        for phase in Phase:
            jobs.add_metric([phase.value], count[phase])
        yield jobs
