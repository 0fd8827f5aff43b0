"""Whole jobs over a store that misbehaves: planner, workers and reporter, each started again while that is worth it.

What is started again is what Kubernetes would start again: a process that said so by its exit code (75). What the job
has left is looked at in `verdict.py`, by way of the store itself and not through the proxy.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from tests.chaos.fates import SPARED, Role
from tests.chaos.fleet import ChaosJob, tail
from tests.chaos.kills_corpus import make_corpus
from tests.chaos.lives import Life, Zygote
from tests.chaos.store_faults import Asked, Choose, Kind, Storm, storm
from tests.chaos.verdict import Reference, Verdict, examine, reference_of
from tests.jobs import TINY_CTC
from tests.s3proxy import Request
from tests.s3server import S3Server
from transcription_worker.errors import ExitCode
from transcription_worker.places import TERMINATION_LOG_VARIABLE

LIFE_SECONDS = 400.0
"""What lives longer has hung: the longest that a request may take is attempts times read timeout, five minutes."""
RESTARTS = 6
"""Of one process, as `attemptsPerWorker` bounds them."""
BACKOFF_SECONDS = 2.0
"""Before the first restart, doubled for each further one: a fifth of what a Job's controller waits."""
REQUESTS_PER_FAULT = 4
"""What one fault may cost: its repetition, a look at whether it was acted on, and the way back to it."""
WORKERS = 2


@dataclass(frozen=True, slots=True)
class Ending:
    """How one process ended: its exit code and last words."""

    role: Role
    status: int
    words: str


@dataclass
class Played:
    """One job that has run to its end, and what is wrong with it."""

    name: str
    weather: Storm
    endings: list[Ending]
    verdict: Verdict
    seconds: float
    longest_life: float
    faults: list[str] = field(default_factory=list)

    @property
    def statuses(self) -> Counter[int]:
        return Counter(ending.status for ending in self.endings)


class Grounds:
    """A bucket of recordings and a model, and the undisturbed run that the others are compared with."""

    def __init__(self, server: S3Server, zygote: Zygote, folder: Path, recordings: int, seed: int) -> None:
        self.server = server
        self.zygote = zygote
        self.bucket = f"store-{uuid4().hex[:12]}"
        self._folder = folder
        client = server.client()
        client.create_bucket(Bucket=self.bucket)
        client.upload_file(str(TINY_CTC), self.bucket, "models/tiny.nemo")
        for key in make_corpus(folder / "corpus", recordings, seed):
            client.upload_file(str(folder / "corpus" / key), self.bucket, f"in/{key}")
        calm = self._job("calm")
        with storm(server, lambda asked, request, number: None) as weather:
            endings, _ = self._run(calm, weather, lambda: None)
        if any(ending.status for ending in endings):
            raise AssertionError(f"The undisturbed run failed: {endings}")
        self.reference: Reference = reference_of(calm)
        self.calm = weather

    def play(
        self,
        name: str,
        choose: Choose,
        *,
        heal: Callable[[], None] | None = None,
        stall_seconds: float | None = 1.0,
        **spec: Any,
    ) -> Played:
        """Run one job under a weather and examine what it left.

        Args:
            heal: called when a process ends otherwise than well, as a person who mends what it said would; without it
                78 is the end, and a fault.
        """
        job = self._job(re.sub(r"[^a-zA-Z0-9]+", "-", name), **spec)
        started = time.monotonic()
        with storm(self.server, choose, stall_seconds=stall_seconds) as weather:
            endings, longest = self._run(job, weather, heal)
        seconds = time.monotonic() - started
        verdict = examine(job, self.reference, [])
        played = Played(name, weather, endings, verdict, seconds, longest)
        played.faults = [*verdict.faults, *self._judge(job, played, mended=heal is not None)]
        return played

    def _job(self, name: str, **spec: Any) -> ChaosJob:
        folder = self._folder / name
        (folder / "logs").mkdir(parents=True)
        base = {
            "failurePolicy": {"maxFailedRecordings": "50%", "attemptsPerRecording": 3},
            # The last digit of a confidence depends on what else was in the batch, and that on the order of arrival.
            "transcription": {"batchSeconds": 20, "confidence": False},
        }
        return ChaosJob(folder, self.server, self.bucket, f"out-{name}", uuid4().hex, WORKERS, {**base, **spec})

    def _run(self, job: ChaosJob, weather: Storm, heal: Callable[[], None] | None) -> tuple[list[Ending], float]:
        """Run the three roles one after the other; returns how their processes ended, and the longest life."""
        through = replace(job, server=replace(self.server, endpoint=weather.endpoint))
        endings: list[Ending] = []
        longest = 0.0
        for role in (Role.PLAN, Role.WORK, Role.REPORT):
            indexes = range(WORKERS if role is Role.WORK else 1)
            left = dict.fromkeys(indexes, RESTARTS)
            due = dict.fromkeys(indexes, 0.0)
            lives: dict[int, Life] = {}
            while due or lives:
                for index in [index for index, at in due.items() if time.monotonic() >= at]:
                    del due[index]
                    lives[index] = self._start(through, role, index)
                self.zygote.poll(0.05)
                for index, life in list(lives.items()):
                    if life.status is None:
                        if life.age > LIFE_SECONDS:
                            raise AssertionError(f"{role} {index} hung: {tail(life.log)}")
                        continue
                    del lives[index]
                    endings.append(ending_of(life))
                    longest = max(longest, life.seconds)
                    left[index] -= 1
                    if life.status in (ExitCode.CONFIGURATION, ExitCode.RETRYABLE) and heal is not None:
                        heal()
                    again = life.status == ExitCode.RETRYABLE or (life.status == ExitCode.CONFIGURATION and heal)
                    if again and left[index]:
                        due[index] = time.monotonic() + BACKOFF_SECONDS * 2 ** (RESTARTS - left[index] - 1)
            if endings[-1].status not in (ExitCode.OK, ExitCode.RETRYABLE):
                break
        return endings, longest

    def _start(self, job: ChaosJob, role: Role, index: int) -> Life:
        name = f"{role}-{index}-{uuid4().hex[:6]}"
        log = job.folder / "logs" / name
        words = log.with_suffix(".words")
        words.touch()  # as the kubelet does
        in_a_pod = {TERMINATION_LOG_VARIABLE: str(words), "KUBERNETES_SERVICE_HOST": "none"}
        environment = {**job.environment(SPARED, name), **in_a_pod}
        return self.zygote.fork(role, SPARED, job.arguments(role, index), environment, log)

    def _judge(self, job: ChaosJob, played: Played, *, mended: bool) -> Iterator[str]:
        weather = played.weather
        if not weather.injected:
            yield "it shows nothing: nothing was struck"
        last = {
            role: [e for e in played.endings if e.role == role][-1:] for role in (Role.PLAN, Role.WORK, Role.REPORT)
        }
        for role, endings in last.items():
            if not endings or endings[0].status != ExitCode.OK:
                yield f"{role} did not end well: {endings or 'it was never started'}"
        for ending in played.endings:
            if ending.status not in (ExitCode.OK, ExitCode.RETRYABLE, ExitCode.CONFIGURATION):
                yield f"{ending.role} ended with {ending.status}: {ending.words}"
            elif ending.status == ExitCode.CONFIGURATION and not mended:
                yield f"{ending.role} gave up for good: {ending.words}"
            if ending.status:
                yield from (f"{ending.role}: {fault}" for fault in _unclear(ending.words))
        for log in (job.folder / "logs").iterdir():
            if "Traceback" in log.read_text(errors="replace"):
                yield f"a traceback in {log.name}: {tail(log)}"
        lives = max(Counter(ending.role for ending in played.endings).values())
        allowed = self.calm.requests * lives + REQUESTS_PER_FAULT * weather.injected.total()
        if weather.requests > allowed:
            yield f"{weather.requests} requests, where {allowed} would do"


def ending_of(life: Life) -> Ending:
    """How a life that has ended did so."""
    assert life.status is not None
    return Ending(Role(life.role), life.status, life.log.with_suffix(".words").read_text())


def _unclear(words: str) -> Iterator[str]:
    if "\n" in words.strip() or not words.strip().endswith("."):
        yield f"no sentence: {words!r}"


def each_once(kind: Kind, asked: Asked) -> Choose:
    """Every request of one sort fails once and passes when it comes again, told apart by their first lines."""
    met: set[str] = set()

    def choose(found: Asked, request: Request, number: int) -> Kind | None:
        line = request.line.partition("?")[0] if found is not Asked.LIST else request.line
        if found is not asked or line in met:
            return None
        met.add(line)
        return kind

    return choose


@dataclass
class Expiry:
    """From the n-th request of the job on the store takes no credentials (or no clock) any more, until mended."""

    kind: Kind
    after: int
    begun: bool = False
    mended: bool = False

    def choose(self, asked: Asked, request: Request, number: int) -> Kind | None:
        self.after -= 1
        self.begun = self.begun or self.after < 0
        return self.kind if self.begun and not self.mended else None

    def mend(self) -> None:
        self.mended = True


@dataclass
class Outage:
    """From the n-th request of a sort on the store is away for so many seconds.

    `below`: only what concerns this prefix of the bucket is away, as where the input lies in a store of its own.
    """

    kind: Kind
    asked: Asked
    after: int
    seconds: float
    below: str = ""
    _begun: float | None = None

    def choose(self, asked: Asked, request: Request, number: int) -> Kind | None:
        target = unquote(request.line.split(" ")[1])
        if f"/{self.below}" not in target and f"prefix={self.below}" not in target:
            return None
        if self._begun is None and asked is self.asked and number >= self.after:
            self._begun = time.monotonic()
        return self.kind if self._begun is not None and time.monotonic() < self._begun + self.seconds else None
