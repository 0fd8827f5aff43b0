"""Whole jobs whose scratch or cache lies on a disk that misbehaves at a chosen moment. What is done to the disk, and
when, is `disk_scenes.py`; the moment is a request of the job, for which the proxy before the store calls back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.chaos.fates import SPARED, Role
from tests.chaos.fleet import ChaosJob, tail
from tests.chaos.kills_corpus import make_corpus
from tests.chaos.lives import Life, Zygote
from tests.chaos.store_faults import Asked, Kind, storm
from tests.chaos.store_job import Ending, ending_of
from tests.chaos.verdict import Reference, Verdict, examine, reference_of
from tests.jobs import TINY_CTC
from tests.s3proxy import Request
from tests.s3server import S3Server
from transcription_worker.errors import ExitCode
from transcription_worker.places import TERMINATION_LOG_VARIABLE

LIFE_SECONDS = 240.0
RESTARTS = 6
PAUSE_SECONDS = 1.0
"""Before a restart."""


@dataclass
class Moment:
    """Calls `strike` once, when the n-th request of a sort comes, and holds that request until it has returned."""

    asked: Asked
    number: int
    strike: Callable[[], object]
    below: str = "/in/"
    struck: threading.Event = field(default_factory=threading.Event)
    _seen: int = 0

    def choose(self, asked: Asked, request: Request, number: int) -> Kind | None:
        if asked is self.asked and self.below in request.line:
            self._seen += 1
            if self._seen == self.number:
                self.strike()
                self.struck.set()
        return None


@dataclass
class Played:
    """One job that has run to its end."""

    endings: list[Ending]
    verdict: Verdict
    seconds: float
    faults: list[str]
    logs: str = ""


class Site:
    """A bucket of recordings and a model, and the undisturbed run that the others are compared with."""

    def __init__(self, server: S3Server, zygote: Zygote, folder: Path, recordings: int, seed: int) -> None:
        self.server, self.zygote, self.folder = server, zygote, folder
        self.bucket = f"disk-{uuid4().hex[:12]}"
        client = server.client()
        client.create_bucket(Bucket=self.bucket)
        client.upload_file(str(TINY_CTC), self.bucket, "models/tiny.nemo")
        for key in make_corpus(folder / "corpus", recordings, seed):
            client.upload_file(str(folder / "corpus" / key), self.bucket, f"in/{key}")
        calm = self.job("calm", count=1)
        endings = self.run(calm, None)
        if any(ending.status for ending in endings):
            raise AssertionError(f"The undisturbed run failed: {endings}")
        self.reference: Reference = reference_of(calm)

    def job(self, name: str, *, count: int, **spec: Any) -> ChaosJob:
        """A job whose scratch is `<folder>/<name>/scratch` and whose caches lie beside it."""
        folder = self.folder / name
        (folder / "logs").mkdir(parents=True)
        base = {
            "failurePolicy": {"maxFailedRecordings": "50%", "attemptsPerRecording": 3},
            # The last digit of a confidence depends on what else was in the batch, and that on the order of arrival.
            "transcription": {"batchSeconds": 20, "confidence": False},
        }
        return ChaosJob(folder, self.server, self.bucket, f"out-{name}", uuid4().hex, count, {**base, **spec})

    def play(
        self,
        job: ChaosJob,
        moment: Moment | None,
        *,
        between: Callable[[Ending], None] = lambda ending: None,
        watch: Callable[[Mapping[int, Life]], None] = lambda lives: None,
    ) -> Played:
        """Run a job and examine what it left.

        Args:
            between: called with each process that ended otherwise than well, before its successor starts.
            watch: called over and over with the workers that live.
        """
        started = time.monotonic()
        endings = self.run(job, moment, between, watch)
        seconds = time.monotonic() - started
        verdict = examine(job, self.reference, [])
        logs = "\n".join(path.read_text(errors="replace") for path in sorted((job.folder / "logs").iterdir()))
        faults = [*verdict.faults, *_judge(endings, logs)]
        if moment is not None and not moment.struck.is_set():
            faults.append("it shows nothing: the moment never came")
        return Played(endings, verdict, seconds, faults, logs)

    def run(
        self,
        job: ChaosJob,
        moment: Moment | None,
        between: Callable[[Ending], None] = lambda ending: None,
        watch: Callable[[Mapping[int, Life]], None] = lambda lives: None,
    ) -> list[Ending]:
        endings: list[Ending] = []
        with storm(self.server, moment.choose if moment else lambda asked, request, number: None) as weather:
            through = replace(job, server=replace(self.server, endpoint=weather.endpoint))
            for role in (Role.PLAN, Role.WORK, Role.REPORT):
                lives = {index: self._start(through, role, index) for index in range(_count(role, job))}
                left = dict.fromkeys(lives, RESTARTS)
                while lives:
                    self.zygote.poll(0.05)
                    if role is Role.WORK:
                        watch(lives)
                    for index, life in list(lives.items()):
                        if life.status is None:
                            if life.age > LIFE_SECONDS:
                                raise AssertionError(f"{role} {index} hung: {tail(life.log)}")
                            continue
                        del lives[index]
                        endings.append(ending_of(life))
                        left[index] -= 1
                        if life.status != ExitCode.OK and left[index]:
                            between(endings[-1])
                            time.sleep(PAUSE_SECONDS)
                            lives[index] = self._start(through, role, index)
        return endings

    def _start(self, job: ChaosJob, role: Role, index: int) -> Life:
        name = f"{role}-{index}-{uuid4().hex[:6]}"
        log = job.folder / "logs" / name
        words = log.with_suffix(".words")
        words.touch()
        in_a_pod = {TERMINATION_LOG_VARIABLE: str(words), "KUBERNETES_SERVICE_HOST": "none"}
        return self.zygote.fork(
            role, SPARED, job.arguments(role, index), {**job.environment(SPARED, name), **in_a_pod}, log
        )


def _count(role: Role, job: ChaosJob) -> int:
    return job.workers if role is Role.WORK else 1


def _judge(endings: list[Ending], logs: str) -> list[str]:
    """What ended otherwise than it should: killed processes (by us) are nobody's fault."""
    faults = []
    if "Traceback" in logs:
        faults.append(f"a traceback: {logs[logs.index('Traceback') :][:1500]}")
    for ending in endings:
        if ending.status in (ExitCode.OK, -9):
            continue
        if ending.status not in (ExitCode.RETRYABLE, ExitCode.CONFIGURATION):
            faults.append(f"{ending.role} ended with {ending.status}: {ending.words}")
        words = ending.words.strip()
        if "\n" in words or not words.endswith(".") or "Errno" in words:
            faults.append(f"{ending.role}: no sentence: {ending.words!r}")
    for role in (Role.PLAN, Role.WORK, Role.REPORT):
        last = [ending for ending in endings if ending.role is role][-1:]
        if not last or last[0].status != ExitCode.OK:
            faults.append(f"{role} did not end well: {last}")
    return faults
