"""When a worker of `transcription run` gets its successor: crashes at once, stores that are away after a while."""

from __future__ import annotations

import contextlib
import itertools
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from transcription_api.load import load_manifest
from transcription_worker.errors import ExitCode
from transcription_worker.job_context import JobContext
from transcription_worker.local_worker import pause_before_successor
from transcription_worker.plan import Plan
from transcription_worker.run import Interrupts, LocalRun


@dataclass
class Said:
    """What the user would have read."""

    on_first_line: Callable[[], None]
    lines: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        if not self.lines:
            self.on_first_line()
        self.lines.append(line)

    def working(self, plan: Plan) -> Any:
        return contextlib.nullcontext()

    def update(self, totals: object) -> None: ...
    def worked(self, totals: object) -> None: ...


@dataclass(frozen=True)
class Restarted(LocalRun):
    """Supervises real processes that end as the test says; notes by the clock when each started."""

    commands: tuple[str, ...] = ()
    started: list[float] = field(default_factory=list)

    def _spawn(self, entry: str, *arguments: str) -> subprocess.Popen[str]:
        command = self.commands[min(len(self.started), len(self.commands) - 1)]
        self.started.append(self.clock())
        pipe = subprocess.PIPE
        return subprocess.Popen(
            ["sh", "-c", f"cat >/dev/null; {command}"], stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )


def supervised(
    tmp_path: Path,
    *commands: str,
    interrupts: Interrupts | None = None,
    on_first_line: Callable[[], None] = lambda: None,
) -> tuple[Restarted, ExitCode]:
    manifest = tmp_path / "job.yaml"
    manifest.write_text(
        "apiVersion: transcription-operator.io/v1alpha1\nkind: TranscriptionJob\nmetadata: {name: job}\n"
        "spec: {input: {uri: in}, output: {uri: out}, model: {uri: m.nemo}}\n"
    )
    ticks = itertools.count(step=2.0)
    run = Restarted(
        context=JobContext(load_manifest(manifest, local=True)),
        scratch=tmp_path / "scratch",
        cache=tmp_path / "cache",
        workers=1,
        verbose=False,
        display=cast(Any, Said(on_first_line)),
        clock=lambda: float(next(ticks)),
        commands=commands,
    )
    plan = Plan("job-1", "a", "2026-01-01T00:00:00Z", 1, 1, 1.0, 0, 1, True)
    return run, run._work(plan, interrupts or Interrupts())


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 5), (2, 10), (3, 20), (5, 60), (9, 60)])
def test_the_pause_doubles_while_the_store_is_away(attempt: int, seconds: float) -> None:
    assert pause_before_successor(ExitCode.RETRYABLE, attempt) == seconds


@pytest.mark.parametrize("status", [1, -signal.SIGKILL])
def test_a_crash_has_its_successor_at_once(status: int) -> None:
    assert pause_before_successor(status, 3) == 0


def test_a_worker_whose_store_is_away_is_tried_four_times_with_growing_pauses(tmp_path: Path) -> None:
    run, code = supervised(tmp_path, "exit 75")
    pauses = [later - earlier for earlier, later in itertools.pairwise(run.started)]
    assert code is ExitCode.FAILED
    assert len(pauses) == 3
    assert all(pause >= wanted for pause, wanted in zip(pauses, (5, 10, 20), strict=True))
    said = cast(Said, run.display).lines
    assert said[0] == "worker 0 ended (exit code 75); a successor takes over in 5 s."
    assert said[-1] == "worker 0 is given up after 4 attempts (exit code 75)."


def test_a_store_that_comes_back_ends_the_matter(tmp_path: Path) -> None:
    run, code = supervised(tmp_path, "exit 75", "exit 0")
    assert (code, len(run.started)) == (ExitCode.OK, 2)


def test_ctrl_c_during_the_pause_needs_no_successor(tmp_path: Path) -> None:
    interrupts = Interrupts()
    run, code = supervised(
        tmp_path, "exit 75", interrupts=interrupts, on_first_line=lambda: setattr(interrupts, "count", 1)
    )
    assert code is ExitCode.INTERRUPTED
    assert len(run.started) == 1
