"""One job among kills: a planner, some workers, a reporter, each succeeded by its like until it ends well.

Plays the part that Kubernetes has: a worker's successor has its index and its cache, and starts when the predecessor is
dead. What is left in the end is looked at in `verdict.py`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.fates import SPARED, Fate, Kind, Role, Schedule
from tests.chaos.lives import SCRIPT, Command, Life, Zygote
from tests.jobs import Job
from tests.s3server import S3Server

HANG_SECONDS = 300.0
"""A life that nobody kills and that takes longer has hung; they take seconds."""
FATES_AT_ONCE = 6
"""So many deaths of the planner, and of the reporter, one job sees at the most."""
POLL_SECONDS = 0.02
OK, DRAINED = 0, 143

IN_PARTS = (
    "from transcription_worker.store.settings import StoreSettings\n"
    "StoreSettings.__init__.__kwdefaults__['multipart_threshold'] = 0\n"
    "from transcription_worker.cli import worker_main\n"
    "raise SystemExit(worker_main())\n"
)
"""A reporter that sends its files as it would send those of a job with a million recordings."""


class HangError(Exception):
    """A process that should have ended did not."""


@dataclass
class Record:
    """What happened over all jobs: kills by role and what they were, and what was not expected."""

    kills: Counter[tuple[Role, str]] = field(default_factory=Counter)
    lives: Counter[Role] = field(default_factory=Counter)
    unmet: int = 0
    """Fates whose point was not reached."""
    surprises: list[str] = field(default_factory=list)
    peak_bytes: Counter[Role] = field(default_factory=Counter)
    longest_life: float = 0.0
    journal: list[str] = field(default_factory=list)
    """A line per life."""

    @property
    def killed(self) -> int:
        return self.kills.total()

    def bury(self, life: Life) -> bool:
        """Note how a life ended; True where its fate came true."""
        role = Role(life.role)
        self.journal.append(
            f"{life.log.name} {life.seconds:.1f} s, ended with {life.status}, {life.fate.switch or life.fate.kind} "
            f"{' '.join(life.asked)}"
        )
        self.lives[role] += 1
        self.peak_bytes[role] = max(self.peak_bytes[role], life.peak_bytes)
        self.longest_life = max(self.longest_life, life.seconds)
        by_driver = "SIGKILL" in life.asked
        if life.status == -signal.SIGKILL and (by_driver or life.fate.kind is Kind.POINT):
            label = life.fate.label
            if by_driver:
                label = str(Kind.TOGETHER if "together" in life.asked else Kind.MOMENT)
            self.kills[role, label] += 1
            return life.fate.point is None or not by_driver
        if life.status not in (OK, DRAINED):
            self.surprises.append(f"{role} ({life.fate.label}) ended with {life.status}: {tail(life.log)}")
        return life.fate.kind is Kind.SPARED or (life.fate.point is None and bool(life.asked))


@dataclass(frozen=True)
class ChaosJob:
    """A TranscriptionJob of short recordings in a bucket, with a scratch that all its processes share."""

    folder: Path
    server: S3Server
    bucket: str
    output: str
    """Prefix in the bucket."""
    uid: str
    workers: int
    spec: Mapping[str, Any] = field(default_factory=dict)

    @property
    def job(self) -> Job:
        spec: dict[str, Any] = {
            "input": {"uri": f"s3://{self.bucket}/in/"},
            "output": {"uri": f"s3://{self.bucket}/{self.output}", "formats": ["json", "txt", "srt"]},
            "model": {"uri": f"s3://{self.bucket}/models/tiny.nemo"},
            "workers": {"gpus": 0, "replicas": self.workers, "scratch": {"minFree": "1Mi"}},
            "failurePolicy": {"maxFailedRecordings": "50%", "attemptsPerRecording": 20, "attemptsPerWorker": 100},
            "transcription": {"batchSeconds": 20},
        }
        for name, fields in self.spec.items():
            spec[name] = {**spec[name], **fields}
        return Job(self.folder, spec, self.server.environment)

    @property
    def job_id(self) -> str:
        return f"{self.job.name}-{self.uid[:8]}"

    @property
    def root(self) -> str:
        """Where the job's own objects are."""
        return f"{self.output}/_transcription/{self.job_id}"

    def cache(self, index: int) -> Path:
        return self.folder / f"cache-{index}"

    def arguments(self, entry: Role, index: int = 0) -> list[str]:
        places = ["--scratch", str(self.job.scratch), "--cache", str(self.cache(index)), "--verbose"]
        number = ["--index", str(index), "--workers", str(self.workers)] if entry is Role.WORK else []
        return [str(entry), *places, *number]

    def environment(self, fate: Fate, name: str) -> dict[str, str]:
        manifest = {**self.job.manifest, "metadata": {"name": self.job.name, "uid": self.uid}}
        return {
            **self.job.full_environment,
            **fate.environment,
            "TRANSCRIPTION_JOB": json.dumps(manifest),
            "POD_NAME": name,
            "OMP_NUM_THREADS": "1",
        }


class Fleet:
    """Plays one job to its end. `schedule` gives each life its fate; None spares all.

    Args:
        replaces: whether an earlier job's transcripts are there.
    """

    def __init__(
        self,
        job: ChaosJob,
        zygote: Zygote,
        record: Record,
        schedule: Schedule | None = None,
        *,
        replaces: bool = False,
    ) -> None:
        self._job = job
        self._zygote = zygote
        self._record = record
        self._schedule = schedule
        self._replaces = replaces
        self._number = 0
        job.folder.mkdir(parents=True)
        (job.folder / "logs").mkdir()

    def play(self) -> None:
        """Plan, work and report until each has ended well. Raises HangError."""
        self.plan()
        self._work()
        self.report()

    def plan(self) -> None:
        """Only that."""
        self._command(Role.PLAN)

    def report(self) -> None:
        """Only that, where somebody else has done the work."""
        self._command(Role.REPORT)

    # -- planner and reporter

    def _command(self, role: Role) -> None:
        for number in range(FATES_AT_ONCE + 1):
            fate = self._fate(role) if number < FATES_AT_ONCE else SPARED
            program = [sys.executable, "-c", IN_PARTS] if fate.in_parts else [str(SCRIPT)]
            name, log = self._name(role)
            life = Command.start(
                role, fate, [*program, *self._job.arguments(role)], self._job.environment(fate, name), log
            )
            while not life.poll():
                self._torment(life, [life])
                time.sleep(POLL_SECONDS)
            self._settle(role, life)
            if life.status == OK and (role is Role.PLAN or fate is SPARED):
                return
        raise HangError(f"The {role} did not end well: {tail(life.log)}")

    # -- workers

    def _work(self) -> None:
        lives = {index: self._start(index) for index in range(self._job.workers)}
        while lives:
            self._zygote.poll(POLL_SECONDS)
            for index, life in list(lives.items()):
                if life.status is None:
                    self._torment(life, list(lives.values()))
                    continue
                self._settle(Role.WORK, life)
                if life.status == OK:
                    del lives[index]
                else:
                    lives[index] = self._start(index, after_death=life.status == -signal.SIGKILL)

    def _start(self, index: int, *, after_death: bool = False) -> Life:
        fate = self._fate(Role.WORK, after_death=after_death)
        cache = self._job.cache(index)
        if fate.without_model:
            for model in cache.glob("models/*.nemo"):
                model.unlink()
        name, log = self._name(Role.WORK)
        arguments = self._job.arguments(Role.WORK, index)
        return self._zygote.fork(Role.WORK, fate, arguments, self._job.environment(fate, name), log)

    def _torment(self, life: Life, beside: list[Life]) -> None:
        fate = life.fate
        if fate.kind is Kind.SPARED or life.asked:
            if life.age > HANG_SECONDS:
                life.send(signal.SIGKILL)
                raise HangError(f"{life.role} ({fate.label}) hung: {tail(life.log)}")
            return
        if life.age < fate.seconds:
            return
        if fate.kind is Kind.TOGETHER:
            for other in beside:
                if other.send(signal.SIGKILL):
                    other.asked.append("together")
        elif fate.kind is Kind.CHILDREN:
            for child in life.children():
                os.kill(child, signal.SIGKILL)  # its parent lives, so nobody else can have this number
                life.asked.append("children")
                self._record.kills[Role.WORK, str(Kind.CHILDREN)] += 1
        else:
            life.send(signal.SIGKILL)

    # -- both

    def _fate(self, role: Role, *, after_death: bool = False) -> Fate:
        if self._schedule is None:
            return SPARED
        return self._schedule.next(role, after_death=after_death, replaces=self._replaces)

    def _settle(self, role: Role, life: Life) -> None:
        came_true = self._record.bury(life)
        if not came_true and self._schedule is not None:
            self._record.unmet += 1
            self._schedule.put_back(role, life.fate)

    def _name(self, role: Role) -> tuple[str, Path]:
        self._number += 1
        name = f"{role}-{self._number:04d}"
        return name, self._job.folder / "logs" / name


def tail(log: Path) -> str:
    return log.read_text(errors="replace")[-1500:] if log.exists() else ""
