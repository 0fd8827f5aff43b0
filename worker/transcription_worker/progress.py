"""How far a worker is: counters that `run` draws, that the HTTP pages show, and that metrics are made of."""

from __future__ import annotations

import json
import logging
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace

from transcription_worker.counts import MAX_FAILURES, Counts, Failure
from transcription_worker.errors import Reason
from transcription_worker.outcome import Outcome, State
from transcription_worker.speed import RecentSpeed
from transcription_worker.time_use import TimeUse, process_age

log = logging.getLogger(__name__)

FILL_EDGES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0)
"""Upper bounds of the buckets that batch fill ratios are counted in."""
KEPT_SECONDS = 120.0
"""How long a shard is still shown after its ledger was written: whoever adds ledgers up may have looked before."""


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


@dataclass(slots=True)
class Detail:
    """What metrics need beyond a snapshot; `fill` counts batches by bucket of `FILL_EDGES`, `fill_sum` adds ratios."""

    outcomes: Counter[tuple[State, str]] = field(default_factory=Counter)
    retries: Counter[Reason] = field(default_factory=Counter)
    fetched_bytes: int = 0
    fill: list[int] = field(default_factory=lambda: [0] * len(FILL_EDGES))
    fill_sum: float = 0.0


class Progress:
    """Thread-safe counters; `emit` is called with one JSON event per failure and one per snapshot.

    `model_digest`, `draining` and `ending` are set from outside. `draining`: a signal asked for it, whose handler may
    not wait for a lock. `ending`: nothing new is begun any more, for whatever reason.
    """

    def __init__(self, emit: Callable[[str], None] = lambda _: None) -> None:
        self.model_digest = ""
        self.start: Mapping[str, float] = {}
        self.draining = False
        self.ending = False
        self.time_use = TimeUse(process_age())
        self._snapshot = Snapshot()
        self._detail = Detail()
        self._shards: dict[int, Counts] = {}
        self._ledgered: dict[int, float] = {}
        self._failures: list[Failure] = []
        self._speed = RecentSpeed(time.monotonic)
        self._ready = False
        self._emit = emit
        self._lock = threading.Lock()
        self._start = time.monotonic()

    # -- what happened

    def settled(self, outcome: Outcome, shard: int) -> None:
        """A recording's way ended."""
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
                if len(self._failures) < MAX_FAILURES:
                    self._failures.append(Failure.of(outcome))
            s.fetch_seconds += outcome.fetch_seconds or 0.0
            s.decode_seconds += outcome.decode_seconds or 0.0
            s.commit_seconds += outcome.commit_seconds or 0.0
            self._detail.outcomes[outcome.state, str(outcome.reason or "")] += 1
            self._shards.setdefault(shard, Counts()).add(outcome)
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

    def retried(self, reason: Reason) -> None:
        """A recording will be tried again."""
        with self._lock:
            self._detail.retries[reason] += 1

    def ledgered(self, shard: int) -> None:
        """The shard has its ledger, this worker's or another's."""
        now = time.monotonic()
        with self._lock:
            self._ledgered[shard] = now
            for old in [s for s, when in self._ledgered.items() if now - when > KEPT_SECONDS]:
                self._ledgered.pop(old)
                self._shards.pop(old, None)

    def fetched(self, size: int) -> None:
        """So many bytes of a recording came from the store."""
        with self._lock:
            self._detail.fetched_bytes += size

    def batch_done(self, audio_seconds: float, seconds: float, padded_seconds: float) -> None:
        """A batch went through the model; `padded_seconds` is what it would be with all rows as long as its longest."""
        with self._lock:
            self._snapshot.batches += 1
            self._snapshot.model_audio_seconds += audio_seconds
            self._snapshot.model_seconds += seconds
            ratio = min(1.0, audio_seconds / padded_seconds) if padded_seconds > 0 else 1.0
            self._detail.fill[bisect_left(FILL_EDGES, ratio)] += 1
            self._detail.fill_sum += ratio
            self._speed.add(audio_seconds, seconds)

    def model_loaded(self, seconds: float, parts: Mapping[str, float]) -> None:
        """The model is ready, `seconds` after it was first needed; `parts` as an engine tells them."""
        before = max(0.0, self.time_use.age() - seconds)
        self.start = {"before": before, **parts}
        told = ", ".join(f"{name} {value:.1f}" for name, value in self.start.items())
        log.info("model ready after %.1f s: %s", before + seconds, told)
        with self._lock:
            self._snapshot.model_load_seconds = seconds
            self._ready = True

    def all_settled(self) -> None:
        """Nothing is left to do, whether or not it took a model."""
        with self._lock:
            self._ready = True

    # -- how it stands

    @property
    def ready(self) -> bool:
        """The model is loaded, or it turned out that nothing needs one."""
        return self._ready

    def snapshot(self) -> Snapshot:
        with self._lock:
            s = self._snapshot
            s.uptime_seconds = time.monotonic() - self._start
            return replace(s)

    def detail(self) -> Detail:
        with self._lock:
            d = self._detail
            return replace(d, outcomes=d.outcomes.copy(), retries=d.retries.copy(), fill=list(d.fill))

    def failures(self) -> list[Failure]:
        """The first that this worker met."""
        with self._lock:
            return list(self._failures)

    def model_speed(self) -> float:
        """Audio seconds per second of the model while it had something to do; 0 before its first batch."""
        with self._lock:
            s = self._snapshot
            return s.model_audio_seconds / s.model_seconds if s.model_seconds else 0.0

    def recent_speed(self) -> float:
        """Audio seconds per second over the last minute."""
        with self._lock:
            return self._speed.value()

    def shards(self) -> dict[int, Counts]:
        """What this worker settled of each shard that has no ledger, or has one since a moment."""
        with self._lock:
            return {shard: replace(counts) for shard, counts in self._shards.items()}

    def has_ledger(self, shard: int) -> bool:
        """Whether this worker knows of a ledger of the shard."""
        with self._lock:
            return shard in self._ledgered

    # -- events

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
