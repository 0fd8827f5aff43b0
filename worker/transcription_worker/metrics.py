"""The worker's metrics in Prometheus' text format, made when they are asked for: counting is `progress.py`.

Imported only by a worker that listens. docs/metrics.md explains each of `HELP`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from transcription_worker import __version__
from transcription_worker.errors import Reason
from transcription_worker.outcome import State
from transcription_worker.pipeline import Depths
from transcription_worker.progress import FILL_EDGES, Progress
from transcription_worker.scratch import Scratch

PREFIX = "transcription_worker_"

HELP = {
    "info": "Version of the software and digest of the model.",
    "ready": "1 once the model is loaded, or nothing is left that needs it.",
    "recordings_total": "Recordings settled, by state; reason is empty but for failed ones.",
    "retries_total": "Attempts at recordings that will be repeated, by reason.",
    "audio_seconds_total": "Audio of the recordings that this worker transcribed.",
    "model_audio_seconds_total": "Audio that went through the model.",
    "model_seconds_total": "Time in which the model was busy.",
    "time_seconds_total": "Wall time of the process by what the model did or waited for; each moment counts once.",
    "model_load_seconds": "Time that loading the model took; 0 before.",
    "batches_total": "Batches that went through the model.",
    "batch_fill_ratio": "Audio of a batch over its padded size: what is below 1 is wasted on padding.",
    "fetched_bytes_total": "Bytes of recordings read from the object store.",
    "queue_depth": "Recordings taken and not settled (queue taken), and those of them that wait for a reader (read).",
    "buffered_audio_seconds": "Decoded audio that waits for the model or is in it; 0 means that the model starves.",
    "scratch_bytes": "Size of this worker's files in scratch.",
    "scratch_free_bytes": "Bytes that may still be written to scratch.",
    "orphans_removed_total": "Dead owners whose files this worker's sweeps took away.",
    "sweep_failures_total": "Paths in scratch that could not be removed and are left to the next sweep.",
    "gpu_memory_bytes": "Memory of the GPU, by kind: allocated, reserved, free, total. Only where CUDA is in use.",
}
"""Every metric of the worker itself, without the prefix; units are in the names."""


class WorkerCollector(Collector):
    """Reads the worker's state at each scrape.

    Args:
        depths: what is under way in the pipeline at the moment.
    """

    def __init__(self, progress: Progress, scratch: Scratch, depths: Callable[[], Depths]) -> None:
        self._progress = progress
        self._scratch = scratch
        self._depths = depths

    def collect(self) -> Iterable[Metric]:
        yield from self._recordings()
        yield from self._model()
        yield from self._pipeline()
        yield from self._disk()

    def _recordings(self) -> Iterable[Metric]:
        now, detail = self._progress.snapshot(), self._progress.detail()
        info = InfoMetricFamily(PREFIX.removesuffix("_"), HELP["info"])
        info.add_metric([], {"version": __version__, "model_digest": self._progress.model_digest})
        yield info
        recordings = _counter("recordings_total", "state", "reason")
        # From the start, or the first failure of a short job would be no increase to Prometheus.
        known: dict[tuple[State, str], int] = {(State.DONE, ""): 0, (State.SKIPPED, ""): 0}
        known |= {(State.FAILED, reason.value): 0 for reason in Reason}
        for (state, reason), count in {**known, **detail.outcomes}.items():
            recordings.add_metric([state, reason], count)
        yield recordings
        retries = _counter("retries_total", "reason")
        for why, count in detail.retries.items():
            retries.add_metric([why], count)
        yield retries
        yield _value(_counter("audio_seconds_total"), now.audio_seconds)
        yield _value(_counter("fetched_bytes_total"), detail.fetched_bytes)

    def _model(self) -> Iterable[Metric]:
        now, detail = self._progress.snapshot(), self._progress.detail()
        yield _value(_gauge("ready"), self._progress.ready)
        yield _value(_counter("model_audio_seconds_total"), now.model_audio_seconds)
        yield _value(_counter("model_seconds_total"), now.model_seconds)
        spent = _counter("time_seconds_total", "step")
        for step, seconds in self._progress.time_use.seconds().items():
            spent.add_metric([step.value], seconds)
        yield spent
        yield _value(_gauge("model_load_seconds"), now.model_load_seconds)
        yield _value(_counter("batches_total"), now.batches)
        fill = HistogramMetricFamily(f"{PREFIX}batch_fill_ratio", HELP["batch_fill_ratio"])
        fill.add_metric([], _cumulative(detail.fill), detail.fill_sum)
        yield fill
        memory = _gauge("gpu_memory_bytes", "kind")
        for kind, size in self._gpu_memory().items():
            memory.add_metric([kind], size)
        yield memory

    def _pipeline(self) -> Iterable[Metric]:
        now = self._depths()
        depth = _gauge("queue_depth", "queue")
        depth.add_metric(["taken"], now.taken)
        depth.add_metric(["read"], now.waiting)
        yield depth
        yield _value(_gauge("buffered_audio_seconds"), now.audio_seconds)

    def _disk(self) -> Iterable[Metric]:
        yield _value(_gauge("scratch_bytes"), self._scratch.used_bytes())
        yield _value(_gauge("scratch_free_bytes"), self._scratch.free_bytes())
        yield _value(_counter("orphans_removed_total"), self._scratch.orphans)
        yield _value(_counter("sweep_failures_total"), self._scratch.failed_removals)

    def _gpu_memory(self) -> Mapping[str, int]:
        """Never the reason why torch is imported or CUDA is started: whoever asks before the model stands gets none."""
        cuda: Any = getattr(sys.modules.get("torch"), "cuda", None)
        if cuda is None or not self._progress.ready or not cuda.is_initialized():
            return {}
        free, total = cuda.mem_get_info()
        return {"allocated": cuda.memory_allocated(), "reserved": cuda.memory_reserved(), "free": free, "total": total}


def metrics_page(progress: Progress, scratch: Scratch, depths: Callable[[], Depths]) -> Callable[[], bytes]:
    """A registry of its own, with this worker's metrics and those of its process; gives its text."""
    registry = CollectorRegistry()
    registry.register(WorkerCollector(progress, scratch, depths))
    ProcessCollector(registry=registry)
    return lambda: generate_latest(registry)


def _counter(name: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(PREFIX + name, HELP[name], labels=labels)


def _gauge(name: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, HELP[name], labels=labels)


def _value(family: CounterMetricFamily | GaugeMetricFamily, value: float) -> Metric:
    family.add_metric([], value)
    return family


def _cumulative(counts: list[int]) -> list[tuple[str, float]]:
    buckets, total = [], 0
    for edge, count in zip(FILL_EDGES, counts, strict=True):
        total += count
        buckets.append((str(edge), float(total)))
    return [*buckets, ("+Inf", float(total))]
