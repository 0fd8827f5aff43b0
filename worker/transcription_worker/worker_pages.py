"""What a worker tells over HTTP: that it lives, whether it is ready, how far it is, how far the job is, metrics."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus

from transcription_worker.counts import Counts
from transcription_worker.errors import TranscriptionError
from transcription_worker.job_progress import JobProgress
from transcription_worker.progress import Progress
from transcription_worker.status_server import Page, Routes

JSON = "application/json"
METRICS = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format."""


@dataclass(frozen=True, slots=True)
class WorkerPages:
    """The pages of one worker.

    Args:
        index: of the Indexed Job.
        worker: who this is, as ledgers name it.
        metrics: gives the metrics as text.
    """

    index: int
    worker: str
    progress: Progress
    job: JobProgress
    metrics: Callable[[], bytes]

    def routes(self) -> Routes:
        return {
            "/healthz": lambda: Page(HTTPStatus.OK, b"ok\n"),
            "/readyz": self._ready,
            "/progress": lambda: _json(self._own()),
            "/progress/job": self._job,
            "/metrics": lambda: Page(HTTPStatus.OK, self.metrics(), METRICS),
        }

    def _ready(self) -> Page:
        if self.progress.ready:
            return Page(HTTPStatus.OK, b"ok\n")
        return Page(HTTPStatus.SERVICE_UNAVAILABLE, b"the model is not loaded yet\n")

    def _own(self) -> dict[str, object]:
        progress, now = self.progress, self.progress.snapshot()
        shards, ledgered = progress.shards(), self.job.finished
        rest = Counts()
        for shard, counts in shards.items():
            if shard not in ledgered and not progress.has_ledger(shard):
                rest.include(counts)
        return {
            "index": self.index,
            "worker": self.worker,
            "ready": progress.ready,
            "draining": progress.draining,
            "model_digest": progress.model_digest,
            "done": now.done,
            "skipped": now.skipped,
            "failed": now.failed,
            "bytes": now.bytes,
            "audio_seconds": round(now.audio_seconds, 3),
            "speed": round(progress.recent_speed(), 2),
            "model_seconds": round(now.model_seconds, 3),
            "model_load_seconds": round(now.model_load_seconds, 3),
            "uptime_seconds": round(now.uptime_seconds, 3),
            "failures": [asdict(failure) for failure in progress.failures()],
            "unledgered": asdict(rest),
            "shards": {str(shard): asdict(counts) for shard, counts in shards.items()},
        }

    def _job(self) -> Page:
        try:
            totals = self.job.read()
        except TranscriptionError as error:
            return Page(HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n".encode(errors="replace"))
        if totals is None:
            return Page(HTTPStatus.SERVICE_UNAVAILABLE, b"the ledgers are being counted\n")
        return _json(totals.to_dict())


def _json(fields: Mapping[str, object]) -> Page:
    return Page(HTTPStatus.OK, f"{json.dumps(fields)}\n".encode(), JSON)
