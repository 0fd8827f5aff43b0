"""How far a worker is: counters that `run` draws and the report's speed comes from."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from transcription_worker.outcome import Outcome, State

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Snapshot:
    """Totals since the worker's start. `audio_seconds` is audio of recordings done by this worker's model,
    `model_seconds` the wall time its batches took, `uptime_seconds` since the worker was made."""

    done: int = 0
    skipped: int = 0
    failed: int = 0
    bytes: int = 0
    audio_seconds: float = 0.0
    batches: int = 0
    model_audio_seconds: float = 0.0
    model_seconds: float = 0.0
    model_load_seconds: float = 0.0
    fetch_seconds: float = 0.0
    decode_seconds: float = 0.0
    commit_seconds: float = 0.0
    uptime_seconds: float = 0.0

    @property
    def settled(self) -> int:
        return self.done + self.skipped + self.failed


class Progress:
    """Thread-safe counters; `emit` is called with one JSON event per failure and one per snapshot."""

    def __init__(self, emit: Callable[[str], None] = lambda _: None) -> None:
        self._snapshot = Snapshot()
        self._emit = emit
        self._lock = threading.Lock()
        self._start = time.monotonic()

    def settled(self, outcome: Outcome) -> None:
        with self._lock:
            s = self._snapshot
            s.bytes += outcome.size
            if outcome.state is State.DONE:
                s.done += 1
                if outcome.model_seconds:  # else it was found done, the work of a worker that died
                    s.audio_seconds += outcome.duration or 0.0
            elif outcome.state is State.SKIPPED:
                s.skipped += 1
            else:
                s.failed += 1
            s.fetch_seconds += outcome.fetch_seconds or 0.0
            s.decode_seconds += outcome.decode_seconds or 0.0
            s.commit_seconds += outcome.commit_seconds or 0.0
        log.info(
            "%s %s audio=%.1fs fetch=%.2fs decode=%.2fs model=%.2fs commit=%.2fs%s",
            outcome.state.value,
            json.dumps(outcome.key),
            outcome.duration or 0.0,
            outcome.fetch_seconds or 0.0,
            outcome.decode_seconds or 0.0,
            outcome.model_seconds or 0.0,
            outcome.commit_seconds or 0.0,
            f" {outcome.reason}: {outcome.message}" if outcome.reason else "",
        )
        if outcome.state is State.FAILED:
            event = {"event": "failure", "key": outcome.key, "reason": outcome.reason, "message": outcome.message}
            self._emit(json.dumps(event))

    def batch_done(self, audio_seconds: float, seconds: float) -> None:
        with self._lock:
            self._snapshot.batches += 1
            self._snapshot.model_audio_seconds += audio_seconds
            self._snapshot.model_seconds += seconds

    def model_loaded(self, seconds: float) -> None:
        with self._lock:
            self._snapshot.model_load_seconds = seconds

    def snapshot(self) -> Snapshot:
        with self._lock:
            s = self._snapshot
            s.uptime_seconds = time.monotonic() - self._start
            return Snapshot(**asdict(s))

    def publish(self) -> None:
        """Emit the counters as they are now."""
        self._emit(json.dumps({"event": "progress", **asdict(self.snapshot())}))

    @contextmanager
    def published_every(self, seconds: float) -> Iterator[None]:
        """Publish again and again while the block runs, and once more at its end."""
        ended = threading.Event()

        def publish() -> None:
            while not ended.wait(seconds):
                self.publish()
            self.publish()

        publisher = threading.Thread(target=publish, name="progress", daemon=True)
        publisher.start()
        try:
            yield
        finally:
            ended.set()
            publisher.join()
