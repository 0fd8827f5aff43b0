"""Where a worker's wall time went, seen from its model: busy, or kept waiting by what. Each moment counts once.

A worker keeps its sums in the bucket (`timesheet.py`); the report adds them up.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class Step(StrEnum):
    """What the model does or waits for; where several go on at once, the first of these counts."""

    MODEL = "model"
    """A batch is in it."""
    START = "start"
    """The process, the toolkit and the model come up, and the model's file is brought."""
    DECODE = "decode"
    FETCH = "fetch"
    """Recordings come from the store, or it is asked whether their transcripts are there."""
    COMMIT = "commit"
    """Transcripts and ledgers are written, and nothing else is left to do."""
    WAIT = "wait"
    """For a shard to take, for a recording's next attempt, for others to finish."""


class TimeUse:
    """Adds up a worker's life; thread-safe.

    Args:
        age: seconds that the process had lived before, which count as its start.
        clock: monotonic seconds.
    """

    def __init__(self, age: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._under_way: Counter[Step] = Counter()
        self._seconds = dict.fromkeys(Step, 0.0)
        self._seconds[Step.START] = age
        self._last = clock()
        self._lock = threading.Lock()

    @contextmanager
    def doing(self, step: Step) -> Iterator[None]:
        """Something of this kind goes on while the block runs."""
        self._change(step, 1)
        try:
            yield
        finally:
            self._change(step, -1)

    def seconds(self) -> dict[Step, float]:
        """Until now, by step; the sum is the age of the process."""
        with self._lock:
            self._count()
            return dict(self._seconds)

    def age(self) -> float:
        """Seconds since the process was started."""
        return sum(self.seconds().values())

    def _change(self, step: Step, by: int) -> None:
        with self._lock:
            self._count()
            self._under_way[step] += by

    def _count(self) -> None:
        now = self._clock()
        cause = next((step for step in Step if self._under_way[step]), Step.WAIT)
        self._seconds[cause] += now - self._last
        self._last = now


class Stopwatch:
    """Seconds since it was made, or since its last lap."""

    def __init__(self) -> None:
        self._start = self._lap = time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self._start

    def lap(self) -> float:
        before, self._lap = self._lap, time.monotonic()
        return self._lap - before


def process_age() -> float:
    """Seconds since this process was started; 0 where proc(5) does not say."""
    try:
        stat = Path("/proc/self/stat").read_text()
        started = int(stat.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    except (OSError, AttributeError, ValueError, IndexError):
        return 0.0


@dataclass(frozen=True, slots=True)
class Timesheet:
    """What one worker process tells: `plan` is the attempt at planning that it worked for, `start` the seconds until
    its model was ready, by part."""

    worker: str
    plan: str
    gpus: int
    audio_seconds: float
    seconds: Mapping[str, float]
    start: Mapping[str, float]

    def to_json(self) -> bytes:
        fields = asdict(self)
        for name in ("seconds", "start"):
            fields[name] = {part: round(seconds, 3) for part, seconds in fields[name].items()}
        return f"{json.dumps(fields)}\n".encode()

    @classmethod
    def from_json(cls, body: bytes) -> Timesheet:
        """Raises ValueError: it is no timesheet."""
        try:
            fields: dict[str, Any] = json.loads(body)
            seconds = {step.value: float(fields["seconds"].get(step, 0.0)) for step in Step}
            start = {str(part): float(value) for part, value in fields.get("start", {}).items()}
            audio_seconds = float(fields["audio_seconds"])
            gpus = int(fields["gpus"])
            if not all(math.isfinite(value) and value >= 0 for value in (audio_seconds, gpus, *seconds.values())):
                raise ValueError("a figure that is none")
            return cls(str(fields["worker"]), str(fields["plan"]), gpus, audio_seconds, seconds, start)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ValueError(f"no timesheet of a worker: {error}") from error
