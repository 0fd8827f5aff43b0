"""What a person sees of `transcription run`: a live bar on a terminal, plain lines elsewhere, a table at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transcription_worker.errors import printable
from transcription_worker.plan import Plan
from transcription_worker.progress import Snapshot

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PLAIN_INTERVAL = 10.0
"""Seconds between lines where there is no terminal to redraw."""


@dataclass(frozen=True, slots=True)
class Totals:
    """The plan and what all workers together have settled of it."""

    plan: Plan
    now: Snapshot

    def eta_seconds(self, elapsed: float) -> float | None:
        """By bytes: sizes are known before durations are. None before the first recording is transcribed."""
        if not self.now.done or not self.now.bytes:
            return None
        return elapsed * max(0, self.plan.total_bytes - self.now.bytes) / self.now.bytes

    @property
    def settled(self) -> int:
        """A successor counts again what its predecessor had settled in an unfinished shard."""
        return min(self.now.settled, self.plan.recordings)

    @property
    def failed(self) -> int:
        """As above."""
        return min(self.now.failed, self.plan.recordings)

    def line(self, elapsed: float) -> str:
        now = self.now
        speed = now.audio_seconds / elapsed if elapsed else 0.0
        eta = self.eta_seconds(elapsed)
        return (
            f"{self.settled}/{self.plan.recordings} recordings, {now.audio_seconds / 3600:.2f} h of audio, "
            f"{speed:.0f}x real time, ETA {clock(eta) if eta is not None else '-'}, {self.failed} failed"
        )


def clock(seconds: float) -> str:
    whole = int(seconds + 0.5)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


class Display:
    """Prints to a rich console, which knows whether it is a terminal. Where nobody reads any more, the job goes on."""

    def __init__(self) -> None:
        from rich.console import Console

        class Deaf(Console):
            def on_broken_pipe(self) -> None:
                self.quiet = True

        self._console = Deaf(highlight=False, soft_wrap=True)
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._start = time.monotonic()
        self._spoke = self._start
        self._born = self._start
        self._first_batch: float | None = None
        self._last_line = ""

    def say(self, sentence: str) -> None:
        self._console.print(printable(sentence), markup=False)

    def failure(self, key: str, reason: str, message: str) -> None:
        self.say(f"failed ({reason}): {message if key in message else f'{key}: {message}'}")

    def planned(self, plan: Plan) -> None:
        ignored = f", {plan.ignored} other objects ignored" if plan.ignored else ""
        self.say(
            f"Planned {plan.recordings} recordings ({plan.total_bytes / 1e6:.1f} MB) in {plan.shards} shards{ignored}."
        )
        if not plan.conditional_writes:
            self.say("The store has no conditional writes: shards are split by index and commits are plain.")

    @contextmanager
    def working(self, plan: Plan) -> Iterator[None]:
        self._start = self._spoke = time.monotonic()
        if not self._console.is_terminal:
            yield
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[line]}", markup=False))
        with Progress(*columns, console=self._console, transient=True) as self._progress:
            self._task = self._progress.add_task("", total=plan.recordings, line="starting")
            yield
        self._progress = None

    def update(self, totals: Totals) -> None:
        now = time.monotonic()
        if self._first_batch is None and totals.now.batches:
            self._first_batch = now - self._born
        line = totals.line(now - self._start)
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=totals.settled, line=line.partition(" recordings, ")[2])
        elif now - self._spoke >= PLAIN_INTERVAL and line != self._last_line:
            self._spoke, self._last_line = now, line
            self.say(line)

    def worked(self, totals: Totals) -> None:
        if totals.now.skipped == totals.plan.recordings:
            self.say(f"Nothing to do: all {totals.now.skipped} recordings have a current transcript.")

    def finished(self, summary: dict[str, Any]) -> None:
        """The final table and where the report is."""
        rows = [
            ("done", str(summary["done"])),
            ("skipped", str(summary["skipped"])),
            ("failed", str(summary["failed"])),
            *((f"  {reason}", str(count)) for reason, count in summary["failures_by_reason"].items()),
            ("audio", f"{summary['audio_seconds'] / 3600:.2f} h"),
            ("time", clock(summary["wall_seconds"])),
            ("speed", f"{summary['speed'] or 0:.0f}x real time"),
            *((("start", f"first batch after {self._first_batch:.1f} s"),) if self._first_batch is not None else ()),
            *_usage_rows(summary["usage"]),
            ("output", summary["output"]),
            ("report", summary["report"]),
        ]
        width = max(len(name) for name, _ in rows) + 2
        for name, value in rows:
            self.say(f"{name:<{width}}{value}")  # no table of rich's: it would break the path of the report


def _usage_rows(usage: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    """How busy the model was and what kept it waiting, and what the GPUs cost."""
    if usage is None:
        return
    lived = usage["worker_seconds"]
    others = {step: spent / lived for step, spent in usage["seconds"].items() if step != "model"}
    shares = [
        f"{step} {share:.0%}" for step, share in sorted(others.items(), key=lambda item: -item[1]) if share > 0.005
    ]
    yield "model", f"busy {usage['model_busy']:.0%}" + (f" ({', '.join(shares)})" if shares else "")
    if usage["gpu_seconds_per_audio_hour"] is not None:
        per_hour = f"{usage['gpu_seconds_per_audio_hour']:.1f} s per hour of audio"
        cost = "" if usage["cost"] is None else f", {usage['cost']:.2f} {usage['currency']}"
        yield "GPU time", f"{usage['gpu_seconds']:.0f} s, {per_hour}{cost}"
