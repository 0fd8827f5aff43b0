"""A store that misbehaves, in full: `python -m tests.chaos.store --seed N`.

First every kind of misbehaviour at every kind of request against the store module by itself, then whole jobs: each kind
at each kind of request that a job sends, all kinds at random, credentials and clocks that fail in the middle, outages.
Prints figures and what broke a promise; writes the figures as JSON where asked. Exit 1 where anything did.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.lives import zygote
from tests.chaos.store_alone import Bench, Verdict, trials
from tests.chaos.store_faults import Asked, Choose, Kind, at_random
from tests.chaos.store_job import Expiry, Grounds, Outage, Played, each_once
from tests.s3server import S3Server, run_server

JOB_REQUESTS = (Asked.GET, Asked.HEAD, Asked.LIST, Asked.PUT, Asked.PUT_IF, Asked.DELETE)
"""What jobs of this size send. Uploads in parts are tried with the store alone, and by the kills."""
STALL_SECONDS = 30.0
BEYOND_READ_TIMEOUT = 75.0
"""The product gives a silent store 60 s."""
RATE = 0.02
WIDTH = 16


@dataclass
class Figures:
    """What a run has to tell. The counts of losses and left-overs are to be zero."""

    seed: int
    trials: int = 0
    jobs: int = 0
    recordings: int = 0
    faults_injected: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    requests_undisturbed: int = 0
    """Of the same jobs, were the store in order."""
    restarts: int = 0
    recordings_lost: int = 0
    transcripts_wrong: int = 0
    transcripts_doubled: int = 0
    bytes_left: int = 0
    uploads_left: int = 0
    longest_call_seconds: float = 0.0
    longest_life_seconds: float = 0.0
    seconds: float = 0.0
    broken_promises: list[str] = field(default_factory=list)

    def add_trial(self, verdict: Verdict) -> None:
        self.trials += 1
        self.faults_injected[str(verdict.trial.kind)] += verdict.struck
        self.requests += verdict.requests
        self.uploads_left += verdict.uploads_left
        self.longest_call_seconds = max(self.longest_call_seconds, verdict.seconds)
        self.broken_promises += [f"{verdict.trial}: {fault}" for fault in verdict.faults]

    def add_job(self, played: Played, undisturbed: int) -> None:
        found = played.verdict
        self.jobs += 1
        self.recordings += found.planned
        for (kind, _), count in played.weather.injected.items():
            self.faults_injected[str(kind)] += count
        self.requests += played.weather.requests
        self.requests_undisturbed += undisturbed
        self.restarts += played.statuses.total() - played.statuses[0]
        self.recordings_lost += found.lost
        self.transcripts_wrong += found.wrong
        self.transcripts_doubled += found.doubled
        self.bytes_left += found.bytes_left
        self.uploads_left += found.uploads_left
        self.longest_life_seconds = max(self.longest_life_seconds, played.longest_life)
        self.broken_promises += [f"{played.name}: {fault}" for fault in played.faults]

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "faults_injected_total": self.faults_injected.total()}


@dataclass(frozen=True)
class Scene:
    """One job under one weather; `options` of `Grounds.play`."""

    name: str
    choose: Choose
    options: dict[str, Any] = field(default_factory=dict)


def scenes(requests: int, seed: int, rounds: int) -> Iterator[Scene]:
    """Every whole job of a run; an undisturbed one sends so many `requests`."""
    passing = dict.fromkeys((kind for kind in Kind if kind.passes), RATE)
    for number in range(rounds):
        yield Scene(f"all kinds at random, seed {seed + number}", at_random(seed + number, passing))
    for kind in (Kind.EXPIRED, Kind.SKEWED):
        moment = random.Random(f"{seed} {kind}").randrange(requests // 4, requests // 2)
        expiry = Expiry(kind, moment)
        yield Scene(f"{kind} from request {moment} on", expiry.choose, {"heal": expiry.mend})
    yield Scene("input away for 60 s", Outage(Kind.RESET, Asked.GET, 12, 60, "in/").choose)
    yield Scene("all away for 45 s", Outage(Kind.SLOW_DOWN, Asked.GET, 20, 45).choose)
    yield Scene(f"stalls of {STALL_SECONDS:g} s", at_random(seed, {Kind.STALL: RATE}), {"stall_seconds": STALL_SECONDS})
    beyond = Outage(Kind.STALL, Asked.GET, 30, 1)
    yield Scene(f"stalls of {BEYOND_READ_TIMEOUT:g} s", beyond.choose, {"stall_seconds": BEYOND_READ_TIMEOUT})
    for kind in (kind for kind in Kind if kind.passes):
        for asked in (asked for asked in JOB_REQUESTS if kind.strikes(asked)):
            yield Scene(f"{kind} at each {asked} once", each_once(kind, asked))


def run(seed: int, recordings: int, rounds: int, only: str) -> Figures:
    """Everything, or what has `only` in its name."""
    figures, started = Figures(seed), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-store-") as name, run_server(Path(name) / "s3") as server:
        os.environ.update({key: value for key, value in server.environment.items() if key != "AWS_ENDPOINT_URL"})
        _try_alone(server, figures, only)
        with zygote(Path(name) / "zygote") as forks:
            grounds = Grounds(server, forks, Path(name) / "jobs", recordings, seed)
            for scene in scenes(grounds.calm.requests, seed, rounds):
                if only in scene.name:
                    played = grounds.play(scene.name, scene.choose, **scene.options)
                    figures.add_job(played, grounds.calm.requests)
                    _say(
                        f"{scene.name}: {played.seconds:.0f} s, {played.weather.injected.total()} faults, exits "
                        f"{dict(played.statuses)}, {len(played.faults)} broken promises"
                    )
                    for fault in played.faults:
                        _say(f"    broken: {fault}")
    figures.seconds = round(time.monotonic() - started, 1)
    return figures


def _try_alone(server: S3Server, figures: Figures, only: str) -> None:
    bucket = f"alone-{uuid.uuid4().hex[:12]}"
    server.client().create_bucket(Bucket=bucket)
    bench = Bench(server, bucket)
    with ThreadPoolExecutor(WIDTH) as pool:
        for verdict in pool.map(bench.try_out, [trial for trial in trials() if only in str(trial)]):
            figures.add_trial(verdict)
    _say(f"{figures.trials} trials of the store alone, {len(figures.broken_promises)} broken promises")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the corpus and of what is struck at random")
    parser.add_argument("--recordings", type=int, default=36, help="of each job")
    parser.add_argument("--rounds", type=int, default=4, help="jobs with all kinds at random")
    parser.add_argument("--only", default="", help="trials and jobs that have this in their name")
    parser.add_argument("--json", type=Path, help="where the figures go")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that all that was started ends
    figures = run(asked.seed, asked.recordings, asked.rounds, asked.only)
    text = json.dumps(figures.to_dict(), indent=2, ensure_ascii=False)
    if asked.json:
        asked.json.write_text(f"{text}\n")
    _say(text)
    return 1 if figures.broken_promises else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
