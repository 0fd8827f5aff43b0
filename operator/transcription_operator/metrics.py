"""The operator's metrics, in Prometheus names and units; docs/metrics.md explains them."""

from __future__ import annotations

import time
from collections import Counter as Count
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

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
        self._jobs = Gauge(f"{PREFIX}_jobs", "TranscriptionJobs by phase.", ["phase"], registry=self.registry)
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
        self._last_pass = Gauge(
            f"{PREFIX}_last_pass_timestamp_seconds",
            "When a pass ended last, or when there was none to make (Unix time).",
            registry=self.registry,
        )
        self.set_jobs(())

    def requested(self, verb: str, resource: str, code: int) -> None:
        self._requests.labels(verb, resource, str(code)).inc()

    def passed(self) -> None:
        self._last_pass.set(time.time())

    def set_jobs(self, phases: Iterable[Phase]) -> None:
        """Every phase has a value, so that an alert on 0 works."""
        count = Count(phases)
        for phase in Phase:
            self._jobs.labels(phase.value).set(count[phase])
