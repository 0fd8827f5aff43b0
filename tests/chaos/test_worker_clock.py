"""One worker of two has a wall clock that jumps in the middle of its work, to and fro: by minutes, and by days.

The clock is moved while the worker stands still at a fault point, so that it jumps between two steps. A store that does
not believe a clock that is days off refuses what the worker asks; one that is minutes off it takes. The other worker
has a right clock, and stands still in the middle of a recording until the jumps are over.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from tests.chaos.fates import Fate, Role
from tests.chaos.fleet import ChaosJob, Fleet, Record, tail
from tests.chaos.kills import Scene, scene
from tests.chaos.lives import Life, Zygote, zygote
from tests.chaos.store_alone import judge_sentence
from tests.chaos.verdict import Reference, examine, read_objects, reference_of
from tests.conftest import require_server
from tests.false_clock import CACHE_SECONDS, FalseClock, false_clock
from tests.jobs import wait_until
from transcription_worker.errors import ExitCode
from transcription_worker.fault_points import Point
from transcription_worker.places import TERMINATION_LOG_VARIABLE

pytestmark = [pytest.mark.s3, pytest.mark.model, pytest.mark.slow]

RECORDINGS = 48
SEED = 3
SPEC = {
    "transcription": {"batchSeconds": 20, "confidence": False},
    "failurePolicy": {"maxFailedRecordings": "50%", "attemptsPerRecording": 3},
}
LIFE_SECONDS = 300.0
JUMPING, RIGHT = 0, 1
"""The workers' indices."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    require_server()
    with scene(tmp_path_factory.mktemp("clock"), RECORDINGS, SEED, 2) as one:
        yield one


@pytest.fixture(scope="module")
def reference(stage: Scene) -> Reference:
    job = replace(stage.job("calm", spec=SPEC), workers=1)
    Fleet(job, stage.zygote, Record()).play()
    return reference_of(job)


@dataclass(frozen=True)
class Astray:
    """A clock, and a zygote whose lives believe it: a clock is false from a program's start on."""

    clock: FalseClock
    zygote: Zygote


@pytest.fixture(scope="module")
def astray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Astray]:
    folder = tmp_path_factory.mktemp("astray")
    clock = false_clock(folder)
    with zygote(folder / "zygote", clock.environment_of_python()) as forks:
        yield Astray(clock, forks)


@dataclass
class Pair:
    """The two workers of one job."""

    stage: Scene
    astray: Astray
    job: ChaosJob
    lives: list[Life] = field(default_factory=list)
    refusals: list[tuple[int, str]] = field(default_factory=list)
    """How the worker whose clock jumps ended otherwise than well: exit codes and last words."""

    def start_jumping(self, *points: str) -> Life:
        """The worker whose clock jumps. It stops at these fault points."""
        log = self.job.folder / "logs" / f"jumping-{len(self.lives)}"
        words = log.with_suffix(".words")
        words.touch()  # as the kubelet does
        fate = stopping(*points)
        environment = {
            **self.job.environment(fate, log.name),
            **self.astray.clock.environment_of_python(),
            TERMINATION_LOG_VARIABLE: str(words),
            "KUBERNETES_SERVICE_HOST": "none",
        }
        arguments = self.job.arguments(Role.WORK, JUMPING)
        life = self.astray.zygote.fork(Role.WORK, fate, arguments, environment, log)
        self.lives.append(life)
        return life

    def start_right(self, point: str) -> Life:
        fate, log = stopping(point), self.job.folder / "logs" / "right"
        arguments = self.job.arguments(Role.WORK, RIGHT)
        life = self.stage.zygote.fork(Role.WORK, fate, arguments, self.job.environment(fate, log.name), log)
        self.lives.append(life)
        return life

    def set_clock(self, off: timedelta) -> None:
        self.astray.clock.set(off)
        time.sleep(CACHE_SECONDS + 0.1)  # when whoever asks for the time reads that anew

    def jump_when_it_stands_still(self, life: Life, off: timedelta) -> None:
        wait_until(lambda: life.stands_still or self._has_ended(life), LIFE_SECONDS)
        assert life.status is None, f"it ended before its clock jumped: {tail(life.log)}"
        self.set_clock(off)
        life.send(signal.SIGCONT)

    def end(self, life: Life) -> int:
        """Wait for its end. Returns its exit code."""
        wait_until(lambda: self._has_ended(life), LIFE_SECONDS)
        assert life.status is not None
        assert "Traceback" not in life.log.read_text(), tail(life.log)
        if life.status != ExitCode.OK:
            self.refusals.append((life.status, life.log.with_suffix(".words").read_text()))
        return life.status

    def _has_ended(self, life: Life) -> bool:
        for forks in (self.stage.zygote, self.astray.zygote):
            forks.poll(0.01)
        return life.status is not None


def stopping(*points: str) -> Fate:
    return Fate(switch=",".join(f"{point}={signal.SIGSTOP.name}" for point in points))


@contextmanager
def pair(stage: Scene, astray: Astray, reference: Reference, name: str) -> Iterator[Pair]:
    """A planned job; at the end of the block, when both workers are through, its report and verdict."""
    job = stage.job(name, spec=SPEC)
    fleet, asked = Fleet(job, stage.zygote, Record()), len(stage.requests())
    fleet.plan()
    one = Pair(stage, astray, job)
    one.set_clock(timedelta())
    try:
        yield one
    finally:
        for life in one.lives:
            life.send(signal.SIGKILL)
    fleet.report()
    assert examine(job, reference, stage.requests()[asked:]).faults == []
    sheets = read_objects(job.server, job.bucket, f"{job.root}/workers/")
    assert sheets
    for _, body in sheets.values():
        seconds = json.loads(body)["seconds"].values()
        assert min(seconds) >= 0 and sum(seconds) < 2 * LIFE_SECONDS, body


def test_a_clock_that_jumps_by_minutes_is_not_noticed(stage: Scene, astray: Astray, reference: Reference) -> None:
    with pair(stage, astray, reference, "minutes") as one:
        right = one.start_right(f"{Point.FETCH_DONE}:2")
        wait_until(lambda: right.stands_still, LIFE_SECONDS)
        own = one.job.job.scratch_files()
        jumping = one.start_jumping(f"{Point.COMMIT_BEFORE}:2", f"{Point.COMMIT_BEFORE}:6")
        one.jump_when_it_stands_still(jumping, timedelta(minutes=10))
        one.jump_when_it_stands_still(jumping, timedelta(minutes=-10))
        assert one.end(jumping) == ExitCode.OK
        assert all(path.exists() for path in own)
        right.send(signal.SIGCONT)
        assert one.end(right) == ExitCode.OK


def test_a_clock_that_jumps_by_days_ends_its_worker_with_a_sentence_and_costs_no_recording(
    stage: Scene, astray: Astray, reference: Reference
) -> None:
    with pair(stage, astray, reference, "days") as one:
        right = one.start_right(f"{Point.FETCH_DONE}:2")
        wait_until(lambda: right.stands_still, LIFE_SECONDS)
        own = one.job.job.scratch_files()
        assert any(path.suffix != ".lease" for path in own)
        for off in (timedelta(days=3), timedelta(days=-3)):
            one.set_clock(timedelta())
            one.jump_when_it_stands_still(one.start_jumping(f"{Point.COMMIT_BEFORE}:2"), off)
            one.end(one.lives[-1])
            one.end(one.start_jumping())  # its successor, by the same clock
        assert all(path.exists() for path in own), "a clock that is days ahead makes no live worker's files old"
        assert [status for status, _ in one.refusals] == [ExitCode.RETRYABLE] * 4, one.refusals
        for _, words in one.refusals:
            assert "differ too much (RequestTimeTooSkewed)" in words
            assert list(judge_sentence(words.strip())) == []
        one.set_clock(timedelta())
        right.send(signal.SIGCONT)
        assert one.end(one.start_jumping()) == ExitCode.OK
        assert one.end(right) == ExitCode.OK
