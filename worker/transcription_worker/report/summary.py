"""What summary.json says: the job, counts, audio, speed, failures by reason, lengths. One pass, constant memory."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from transcription_worker.outcome import Outcome, State
from transcription_worker.report.usage import Usage

DURATION_EDGES = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18000, 36000)
"""Seconds at which the bins of the histogram of lengths end; the last bin has no end."""

WORK_STEPS = ("fetch", "decode", "model", "commit")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportHeader:
    """The job as a whole. `started` and `finished` are RFC 3339 UTC; `wall_seconds` lies between them.

    `ignored` counts objects of the input that are no recordings; `planned` the recordings of the plan;
    `conditional_writes` is False where the store has none, so that two workers could have written one transcript.
    """

    job: str
    job_id: str
    input: str
    output: str
    model: str
    options: Mapping[str, object]
    started: str
    finished: str
    wall_seconds: float
    conditional_writes: bool
    ignored: int
    planned: int
    software: str


@dataclass(frozen=True, slots=True)
class DurationBin:
    """`count` recordings of at least `at_least` and less than `below` seconds (None: of any length)."""

    at_least: int
    below: int | None
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """summary.json. `missing` are planned recordings that nobody settled.

    `audio_seconds`, `words` and `source_bytes` are of the recordings transcribed in this run, `speed` their audio
    seconds per second of wall time (None where the run took no time). `work_seconds` is what all workers together
    spent on fetching, decoding, the model and committing. `failures_by_reason` starts with the most frequent.
    `durations` runs from the first to the last bin that holds a recording. `usage` is None where no worker told.
    """

    header: ReportHeader
    done: int
    skipped: int
    failed: int
    missing: int
    audio_seconds: float
    speed: float | None
    words: int
    source_bytes: int
    work_seconds: Mapping[str, float]
    failures_by_reason: Mapping[str, int]
    durations: tuple[DurationBin, ...]
    usage: Usage | None

    def to_dict(self) -> dict[str, object]:
        """The header's fields first, on one level with the figures."""
        fields = asdict(self)
        return {**fields.pop("header"), **fields}

    def to_json(self) -> bytes:
        """Indented, for people too."""
        text = json.dumps(self.to_dict(), ensure_ascii=False, indent=2, allow_nan=False)
        return f"{text}\n".encode(errors="backslashreplace")


@dataclass(slots=True)
class Tally:
    """Counts outcomes as they pass."""

    states: Counter[State] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    work: dict[str, float] = field(default_factory=lambda: dict.fromkeys(WORK_STEPS, 0.0))
    bins: list[int] = field(default_factory=lambda: [0] * (len(DURATION_EDGES) + 1))
    audio_seconds: float = 0.0
    words: int = 0
    source_bytes: int = 0

    def add(self, outcome: Outcome) -> None:
        self.states[outcome.state] += 1
        if outcome.state is State.FAILED:
            self.reasons[str(outcome.reason)] += 1
        if outcome.state is State.DONE:
            self.audio_seconds += outcome.duration or 0.0
            self.words += outcome.words or 0
            self.source_bytes += outcome.size
        if outcome.duration is not None:
            self.bins[bisect_right(DURATION_EDGES, outcome.duration)] += 1
        for step in WORK_STEPS:
            self.work[step] += getattr(outcome, f"{step}_seconds") or 0.0

    def summary(self, header: ReportHeader, usage: Usage | None = None) -> Summary:
        settled = self.states.total()
        return Summary(
            header=header,
            done=self.states[State.DONE],
            skipped=self.states[State.SKIPPED],
            failed=self.states[State.FAILED],
            missing=max(0, header.planned - settled),
            audio_seconds=round(self.audio_seconds, 3),
            speed=round(self.audio_seconds / header.wall_seconds, 2) if header.wall_seconds > 0 else None,
            words=self.words,
            source_bytes=self.source_bytes,
            work_seconds={step: round(seconds, 3) for step, seconds in self.work.items()},
            failures_by_reason=dict(sorted(self.reasons.items(), key=lambda item: (-item[1], item[0]))),
            durations=self._durations(),
            usage=usage,
        )

    def _durations(self) -> tuple[DurationBin, ...]:
        edges: tuple[int | None, ...] = (0, *DURATION_EDGES, None)
        filled = [i for i, count in enumerate(self.bins) if count]
        if not filled:
            return ()
        return tuple(DurationBin(edges[i] or 0, edges[i + 1], self.bins[i]) for i in range(filled[0], filled[-1] + 1))
