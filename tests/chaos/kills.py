"""Kill everything, everywhere: `python -m tests.chaos.kills --kills 200 --seed 1 --workers 4 --report figures.json`.

A few hundred short recordings on a real S3 server, a real model, the worker's real entry points, and kill -9: at every
fault point at least once, and at moments drawn by the seed, for workers, their child processes, the planner and the
reporter, and for whole `transcription run`s. A job is over sooner than its kills, so one follows the other until all
have been played; after each the verdict is taken (`verdict.py`). The seed draws recordings, points, passings, moments
and their order; which worker has got how far at a moment is the machine's.

Exit 0 where nothing was lost, doubled, wrong or left behind, else 1 with a sentence for each.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.driver import conclude, folder_of, parser_for, say
from tests.chaos.fates import Schedule
from tests.chaos.fleet import ChaosJob, Fleet, HangError, Record
from tests.chaos.kills_corpus import make_corpus
from tests.chaos.kills_run import play_run
from tests.chaos.lives import Zygote, zygote
from tests.chaos.verdict import Reference, Verdict, examine, reference_of
from tests.e2e.operating import upload
from tests.jobs import TINY_CTC
from tests.s3server import S3Server, run_server
from transcription_worker.fault_points import Point

Say = Callable[[str], None]

BUCKET = "chaos"
MOST_JOBS = 60
REPLACING = 3
"""Every so many jobs one replaces the transcripts of an earlier one, which had a format more."""


@dataclass(frozen=True)
class Scene:
    """Server, corpus and zygote of one run of the driver."""

    folder: Path
    server: S3Server
    zygote: Zygote
    workers: int
    access_log: Path

    def job(
        self, name: str, *, output: str = "", uid: str = "c0ffee00c0ffee00", spec: Mapping[str, Any] | None = None
    ) -> ChaosJob:
        place = f"out/{output or name}"
        return ChaosJob(self.folder / name, self.server, BUCKET, place, uid, self.workers, spec or {})

    def requests(self) -> list[str]:
        return self.access_log.read_text(errors="replace").splitlines()


@dataclass
class Figures:
    """What a run of the driver found, as it is printed and written."""

    seed: int
    workers: int
    recordings: int
    jobs: int = 0
    seconds: float = 0.0
    kills: int = 0
    kills_by_role: dict[str, dict[str, int]] = field(default_factory=dict)
    points_never_reached: list[str] = field(default_factory=list)
    fates_not_met: int = 0
    outcomes: int = 0
    recordings_lost: int = 0
    transcripts_doubled: int = 0
    transcripts_or_outcomes_wrong: int = 0
    bytes_left: int = 0
    multipart_uploads_left: int = 0
    probes_left_for_a_day: int = 0
    partial_downloads_left: int = 0
    locks_held: int = 0
    processes_left: int = 0
    longest_life_seconds: float = 0.0
    longest_silence_seconds: float = 0.0
    peak_memory_mib: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        self.jobs += 1
        self.outcomes += verdict.planned
        self.recordings_lost += verdict.lost
        self.transcripts_doubled += verdict.doubled
        self.transcripts_or_outcomes_wrong += verdict.wrong
        self.bytes_left += verdict.bytes_left
        self.multipart_uploads_left += verdict.uploads_left
        self.probes_left_for_a_day += verdict.probes_left
        self.partial_downloads_left += verdict.partials_left
        self.locks_held += verdict.locks_held
        self.processes_left += verdict.processes_left
        self.longest_silence_seconds = max(self.longest_silence_seconds, verdict.silence_seconds)
        self.faults += verdict.faults

    def close(self, record: Record) -> None:
        self.kills = record.killed
        for (role, label), count in sorted(record.kills.items()):
            self.kills_by_role.setdefault(role, {})[label] = count
        died_at = {label for _, label in record.kills}
        self.points_never_reached = [str(point) for point in Point if str(point) not in died_at]
        self.fates_not_met = record.unmet
        self.longest_life_seconds = round(record.longest_life, 1)
        self.peak_memory_mib = {str(role): peak >> 20 for role, peak in record.peak_bytes.items()}
        self.faults += record.surprises


@contextmanager
def scene(folder: Path, recordings: int, seed: int, workers: int) -> Iterator[Scene]:
    """A server with corpus and model, and a zygote that is ready."""
    access_log = folder / "access.log"
    os.environ["VGW_ACCESS_LOG"] = str(access_log)  # versitygw's own variable
    try:
        with run_server(folder / "s3") as server, zygote(folder / "zygote") as one:
            del os.environ["VGW_ACCESS_LOG"]
            make_corpus(folder / "in", recordings, seed)
            client = server.client()
            client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="models/tiny.nemo", Body=TINY_CTC.read_bytes())
            upload(server, BUCKET, folder / "in", "in/")
            yield Scene(folder, server, one, workers, access_log)
    finally:
        os.environ.pop("VGW_ACCESS_LOG", None)


def undisturbed(scene: Scene) -> tuple[Reference, float]:
    """The same job with nobody killed, and how long its workers took."""
    job, record = scene.job("undisturbed"), Record()
    Fleet(job, scene.zygote, record).play()
    assert not record.surprises, record.surprises
    return reference_of(job), record.longest_life


def play_older(scene: Scene, name: str) -> None:
    """Another job's transcripts where the job `name` will put its own: of other options, and in a format more."""
    spec = {"output": {"formats": ["json", "vtt"]}, "transcription": {"maxSegmentSeconds": 20}}
    older = scene.job(f"{name}-older", output=name, uid="01de401de401de40", spec=spec)
    Fleet(older, scene.zygote, Record()).play()


def probes_stay(scene: Scene) -> list[str]:
    """Make every probe a day old, let a plan run where it lies; returns those that are still there."""
    bucket = scene.folder / "s3" / "data" / BUCKET  # where versitygw keeps objects as files, dated by their mtime
    long_ago = time.time() - 2 * 24 * 3600
    found = list(bucket.rglob(".probe-*"))
    for probe in found:
        os.utime(probe, (long_ago, long_ago))
    for number, folder in enumerate({probe.parent.parent for probe in found}):
        later = scene.job(f"later-{number}", output=folder.name, uid="1a7e41a7e41a7e4", spec={})
        Fleet(later, scene.zygote, Record()).plan()
    return [probe.name for probe in found if probe.exists()]


def run_all(
    folder: Path,
    *,
    kills: int,
    seed: int,
    workers: int,
    recordings: int,
    runs: int,
    say: Say = lambda _: None,
) -> Figures:
    """Play kills until all have been played; `runs` of them hit a whole `transcription run`."""
    figures, record, begun = Figures(seed, workers, recordings), Record(), time.monotonic()
    with scene(folder, recordings, seed, workers) as stage:
        say(f"{recordings} recordings and the toolkit are there after {time.monotonic() - begun:.0f} s")
        reference, life_seconds = undisturbed(stage)
        schedule = Schedule(kills - runs, seed, recordings, life_seconds)
        try:
            while schedule.waiting and figures.jobs < MOST_JOBS:
                name, replaces = f"job-{figures.jobs:02d}", figures.jobs % REPLACING == 1
                if replaces:
                    play_older(stage, name)
                asked, job = len(stage.requests()), stage.job(name)
                Fleet(job, stage.zygote, record, schedule, replaces=replaces).play()
                _judge(stage, job, reference, asked, figures, say)
                say(
                    f"{job.output}: {record.killed} kills, {schedule.waiting} fates left, "
                    f"{len(figures.faults) + len(record.surprises)} faults, {time.monotonic() - begun:.0f} s"
                )
            if runs:
                asked = len(stage.requests())
                job = play_run(stage.job("run"), record, runs, random.Random(seed))
                _judge(stage, job, reference, asked, figures, say)
        except HangError as error:
            figures.faults.append(str(error))
        if stay := probes_stay(stage):
            figures.faults.append(f"still there a day later: {stay}")
        left = [path for path in stage.zygote.temporary.rglob("*") if path.is_file()]
        if left:
            figures.faults.append(f"left in the zygote's TMPDIR, outside scratch: {[path.name for path in left]}")
    (folder / "lives").write_text("\n".join(record.journal))
    figures.close(record)
    figures.seconds = round(time.monotonic() - begun, 1)
    return figures


def _judge(stage: Scene, job: ChaosJob, reference: Reference, asked: int, figures: Figures, say: Say) -> None:
    verdict = examine(job, reference, stage.requests()[asked:])
    verdict.blame("processes_left", len(stage.zygote.children), f"the zygote has children: {stage.zygote.children}")
    figures.add(verdict)
    for fault in verdict.faults:
        say(f"FAULT {fault}")


def main() -> int:
    parser = parser_for("kills", __doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--recordings", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3, help="of the kills, those of a whole `transcription run`")
    args = parser.parse_args()
    options = {name: getattr(args, name) for name in ("kills", "seed", "workers", "recordings", "runs")}
    with folder_of(args) as folder:
        figures = run_all(folder, **options, say=say)
    if figures.points_never_reached:
        figures.faults.append(f"nobody died at {', '.join(figures.points_never_reached)}")
    return conclude(figures, args)


if __name__ == "__main__":
    raise SystemExit(main())
