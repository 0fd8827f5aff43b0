"""A fleet that loses workers for good: `python -m tests.chaos.fleet_losses --freeze-seconds 60 --report figures.json`.

Six workers as processes on a real S3 server, with a real model and a few hundred short recordings. Two are killed
(kill -9) while they hold unfinished shards, and have no successor; one that holds unfinished shards is frozen (SIGSTOP,
with its child processes) for a minute, and at least until all others are through: it wakes up to a job that is
finished. Each victim stops by itself at a fault point, so that it is in the middle of something, and what it holds is
looked up while it stands still; the victims begin before the others, who would else have done a slow one's shards
before it comes to its moment. Then the report, and the verdict (`verdict.py`) against a run that nobody disturbed.
The seed draws recordings, victims and points.

Exit 0 where nothing was lost, doubled, wrong or left behind, else 1 with a sentence for each.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.chaos.driver import conclude, folder_of, parser_for, say
from tests.chaos.fates import SPARED, Fate, Role
from tests.chaos.fleet import HANG_SECONDS, ChaosJob, Fleet, HangError, Record, tail
from tests.chaos.fleet_board import Board
from tests.chaos.kills import Scene, scene
from tests.chaos.lives import Life
from tests.chaos.verdict import Reference, Verdict, examine, read_objects, reference_of
from tests.jobs import descendants
from transcription_worker.fault_points import Point

WORKERS = 6
SPEC = {"transcription": {"batchSeconds": 20, "confidence": False}}
"""The last digit of a confidence depends on what else was in the batch: without, transcripts are equal to a byte."""
_REQUEST = re.compile(r" s3_(?P<action>\w+) .*? (?P<path>/\S*) (?P<status>\d{3}) ")


class Loss(StrEnum):
    KILLED = "killed"
    FROZEN = "frozen"


LOSSES = (Loss.KILLED, Loss.FROZEN, Loss.KILLED)
MOMENTS = (Point.FETCH_DONE, Point.DECODE_DONE, Point.BATCH_DONE, Point.FORMATTED, Point.COMMIT_BEFORE)
"""Each in the middle of a recording."""
RECORDINGS_PER_PASSING = 100
"""Up to a passing for so many recordings: an early one, which a worker reaches however slow it is beside the others."""


@dataclass
class Struck:
    """A worker that was lost, and what it held at that moment."""

    index: int
    loss: Loss
    moment: str
    """Fault point and passing."""
    after_seconds: float
    """From the start of the workers on."""
    committed: int
    """Transcripts that stood."""
    shards: int
    recordings: int
    """Of its shards, those without a transcript."""


@dataclass
class Waking:
    """What the frozen worker did when it woke: by then nobody else asked the store for anything."""

    frozen_seconds: float = 0.0
    others_were_through_after: float = 0.0
    seconds_to_its_end: float = 0.0
    status: int | None = None
    requests: dict[str, int] = field(default_factory=dict)
    """Action and status of the store's answer -> how many."""
    outcomes: int = 0
    """Of the recordings that it held: settled in its own books, which nobody reads any more."""
    shards_of_others: int = 0
    """Whose ledger it found written when it came with its own."""


@dataclass
class Figures:
    """What a run of the driver found, as it is printed and written.

    `*_twice` by the store's own account: recordings that were read again, which counts what the dead had begun too, and
    commits that were refused because another's stood.
    """

    seed: int
    recordings: int
    audio_seconds: float = 0.0
    shards: int = 0
    seconds: float = 0.0
    struck: list[Struck] = field(default_factory=list)
    seconds_from_last_kill_to_last_ledger: float = 0.0
    seconds_from_last_kill_to_last_survivor: float = 0.0
    recordings_read_twice: int = 0
    audio_seconds_read_twice: float = 0.0
    commits_refused: int = 0
    audio_seconds_in_models_of_those_that_lived: float = 0.0
    files_left_by_the_dead: int = 0
    """In scratch, until the reporter starts and sweeps."""
    woken: Waking = field(default_factory=Waking)
    verdict: Verdict = field(default_factory=Verdict)
    faults: list[str] = field(default_factory=list)


class Losses:
    """Plays one job whose workers are lost on the way."""

    def __init__(self, stage: Scene, job: ChaosJob, reference: Reference, figures: Figures, freeze: float) -> None:
        self._stage = stage
        self._job = job
        self._reference = reference
        self._figures = figures
        self._freeze = freeze
        self._record = Record()
        rng = random.Random(figures.seed)
        victims = rng.sample(range(job.workers), len(LOSSES))
        self._waiting = {index: (loss, self._moment(rng)) for index, loss in zip(victims, LOSSES, strict=True)}
        self._lives: dict[int, Life] = {}
        self._frozen: Life | None = None
        self._children: list[int] = []
        self._begun = 0.0

    def play(self) -> None:
        """Plan, work and report. Raises HangError."""
        fleet = Fleet(self._job, self._stage.zygote, self._record)
        fleet.plan()
        board = Board(self._job, self._reference)
        self._figures.shards = len(board.shards)
        self._begun = time.monotonic()
        self._lives = {index: self._start(index) for index in self._waiting}
        self._until_held(board, set(self._waiting))
        self._lives |= {index: self._start(index) for index in range(self._job.workers) if index not in self._lives}
        self._work(board)
        if self._frozen is not None:
            self._wake(self._frozen)
        if self._waiting:
            self._figures.faults.append(f"it shows nothing: these were never struck: {self._waiting}")
        self._figures.faults += self._record.surprises
        self._figures.files_left_by_the_dead = sum(path.is_file() for path in self._job.job.scratch_files())
        fleet.report()

    def _moment(self, rng: random.Random) -> str:
        return f"{rng.choice(MOMENTS)}:{rng.randint(1, max(1, self._figures.recordings // RECORDINGS_PER_PASSING))}"

    def _start(self, index: int) -> Life:
        name = f"{Role.WORK}-{index}"
        log = self._job.folder / "logs" / name
        fate = SPARED
        if index in self._waiting:
            _, moment = self._waiting[index]
            fate = Fate(switch=f"{moment}={signal.SIGSTOP.name}")
        environment = self._job.environment(fate, name)
        return self._stage.zygote.fork(Role.WORK, fate, self._job.arguments(Role.WORK, index), environment, log)

    def _until_held(self, board: Board, indexes: set[int]) -> None:
        """Until each of these workers has claimed a shard."""
        deadline = time.monotonic() + HANG_SECONDS
        while missing := indexes - set(board.look().holders.values()):
            self._stage.zygote.poll(0.02)
            if time.monotonic() > deadline:
                raise HangError(f"these workers have claimed nothing: {sorted(missing)}")

    def _work(self, board: Board) -> None:
        """Until all but the frozen one have ended."""
        deadline = time.monotonic() + HANG_SECONDS
        while others := {index: life for index, life in self._lives.items() if life is not self._frozen}:
            self._stage.zygote.poll(0.02)
            if time.monotonic() > deadline:
                raise HangError("\n".join(f"worker {index} hung: {tail(life.log)}" for index, life in others.items()))
            for index, life in others.items():
                if life.status is not None:
                    self._record.bury(life)
                    del self._lives[index]
            self._strike(board)
            self._note_end(board)

    def _strike(self, board: Board) -> None:
        for index in [index for index in self._waiting if index in self._lives and self._lives[index].stands_still]:
            loss, moment = self._waiting.pop(index)
            left, committed = board.left_of(index), len(board.committed())
            recordings = sum(map(len, left.values()))
            self._figures.struck.append(Struck(index, loss, moment, self._elapsed(), committed, len(left), recordings))
            if not recordings:
                self._figures.faults.append(f"it shows nothing: worker {index} held nothing unfinished at {moment}")
            life = self._lives[index]
            if loss is Loss.KILLED:
                life.send(signal.SIGKILL)
                continue
            self._frozen, self._children = life, descendants(life.pid)
            for child in self._children:
                os.kill(child, signal.SIGSTOP)  # its parent stands still, so nobody else can have this number

    def _note_end(self, board: Board) -> None:
        killed = [struck.after_seconds for struck in self._figures.struck if struck.loss is Loss.KILLED]
        if not killed:
            return
        elapsed = round(self._elapsed() - killed[-1], 2)
        if not self._figures.seconds_from_last_kill_to_last_ledger and len(board.finished()) == len(board.shards):
            self._figures.seconds_from_last_kill_to_last_ledger = elapsed
        if self._lives:
            self._figures.seconds_from_last_kill_to_last_survivor = elapsed

    def _wake(self, life: Life) -> None:
        """When its time has come; follow it to its end."""
        woken = self._figures.woken
        frozen_after = next(struck.after_seconds for struck in self._figures.struck if struck.loss is Loss.FROZEN)
        woken.others_were_through_after = round(self._elapsed() - frozen_after, 1)
        time.sleep(max(0.0, frozen_after + self._freeze - self._elapsed()))
        asked, said = len(self._stage.requests()), life.log.stat().st_size
        woken.frozen_seconds, begun = round(self._elapsed() - frozen_after, 1), time.monotonic()
        for child in self._children:
            os.kill(child, signal.SIGCONT)
        life.send(signal.SIGCONT)
        while life.status is None:
            self._stage.zygote.poll(0.05)
            if time.monotonic() - begun > HANG_SECONDS:
                raise HangError(f"the frozen worker hung when it woke: {tail(life.log)}")
        self._record.bury(life)
        woken.seconds_to_its_end, woken.status = round(time.monotonic() - begun, 2), life.status
        woken.requests = dict(Counter(f"{action} {status}" for action, _, status in answers(self._stage, asked)))
        lines = life.log.read_bytes()[said:].decode(errors="replace").splitlines()
        woken.outcomes = sum(".progress: " in line for line in lines)
        woken.shards_of_others = sum("was finished by another worker" in line for line in lines)

    def _elapsed(self) -> float:
        return round(time.monotonic() - self._begun, 2)


def answers(stage: Scene, since: int) -> list[tuple[str, str, int]]:
    """Action, path and status of each request that the server has answered, from its `since`-th on."""
    found = filter(None, map(_REQUEST.search, stage.requests()[since:]))
    return [(match["action"], unquote(match["path"]), int(match["status"])) for match in found]


def undisturbed(stage: Scene) -> Reference:
    """The same job with nobody lost; two workers do."""
    job, record = replace(stage.job("undisturbed", spec=SPEC), workers=2), Record()
    Fleet(job, stage.zygote, record).play()
    assert not record.surprises, record.surprises
    return reference_of(job)


def done_twice(stage: Scene, job: ChaosJob, reference: Reference, since: int, figures: Figures) -> None:
    """What the store says of work that was done more than once."""
    folder, output = f"/{job.bucket}/in/", f"/{job.bucket}/{job.output}/"
    reads: Counter[str] = Counter()
    for action, path, status in answers(stage, since):
        if action == "GetObject" and path.startswith(folder):
            reads[path.removeprefix(folder)] += 1
        elif action == "PutObject" and path.startswith(output) and path.endswith(".json") and status == 412:
            figures.commits_refused += 1
    again = {key: count - 1 for key, count in reads.items() if count > 1 and key in reference.outcomes}
    lasts = {key: float(outcome.get("duration") or 0.0) for key, outcome in reference.outcomes.items()}
    figures.recordings_read_twice = len(again)
    figures.audio_seconds_read_twice = round(sum(count * lasts[key] for key, count in again.items()), 1)
    figures.audio_seconds = round(sum(lasts.values()), 1)
    sheets = read_objects(job.server, job.bucket, f"{job.root}/workers/").values()
    in_models: float = sum(json.loads(body)["audio_seconds"] for _, body in sheets)
    figures.audio_seconds_in_models_of_those_that_lived = round(in_models, 1)


def run(folder: Path, *, seed: int, recordings: int, freeze: float, say: Callable[[str], Any]) -> Figures:
    """One job, struck, and its verdict."""
    figures, begun = Figures(seed, recordings), time.monotonic()
    with scene(folder, recordings, seed, WORKERS) as stage:
        reference = undisturbed(stage)
        say(f"{recordings} recordings and their undisturbed transcripts are there after {elapsed(begun)}")
        job, asked = stage.job("losses", spec=SPEC), len(stage.requests())
        try:
            Losses(stage, job, reference, figures, freeze).play()
        except HangError as error:
            figures.faults.append(str(error))
            return figures
        done_twice(stage, job, reference, asked, figures)
        figures.verdict = examine(job, reference, stage.requests()[asked:])
        figures.verdict.blame("processes_left", len(stage.zygote.children), "the zygote has children")
        figures.faults += figures.verdict.faults
    figures.seconds = round(time.monotonic() - begun, 1)
    return figures


def elapsed(begun: float) -> str:
    return f"{time.monotonic() - begun:.0f} s"


def main() -> int:
    parser = parser_for("fleet_losses", __doc__)
    parser.add_argument("--recordings", type=int, default=300)
    parser.add_argument("--freeze-seconds", type=float, default=60.0)
    args = parser.parse_args()
    with folder_of(args) as folder:
        figures = run(folder, seed=args.seed, recordings=args.recordings, freeze=args.freeze_seconds, say=say)
    return conclude(figures, args)


if __name__ == "__main__":
    raise SystemExit(main())
