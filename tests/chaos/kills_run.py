"""A whole `transcription run` killed at some moments, and started again as a user does: by the same command.

Half of the kills hit `run` alone, whose workers must then leave by themselves; the other half hit all its processes.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from dataclasses import replace

from tests.chaos.fates import Role
from tests.chaos.fleet import HANG_SECONDS, ChaosJob, HangError, Record
from tests.jobs import command_line, descendants

LONGEST_SECONDS = 30.0
"""Importing the toolkit takes most of it."""
WORKERS = ("--workers", "2")


def play_run(job: ChaosJob, record: Record, kills: int, rng: random.Random) -> ChaosJob:
    """Kill so many runs, let one end; returns the job that this one made of the manifest. Raises HangError."""
    for number in range(kills):
        run = job.job.start(*WORKERS)
        record.lives[Role.RUN] += 1
        try:
            run.communicate(timeout=rng.uniform(1.0, LONGEST_SECONDS))
        except subprocess.TimeoutExpired:
            below = descendants(run.pid)
            run.kill()
            if number % 2:
                for pid in below:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            run.communicate()
            record.kills[Role.RUN, "with all its processes" if number % 2 else "alone"] += 1
            _await_end(below)
    record.lives[Role.RUN] += 1
    output = job.job.start(*WORKERS)
    said, _ = output.communicate(timeout=2 * HANG_SECONDS)
    if output.returncode != 0:
        record.surprises.append(f"the last `transcription run` ended with {output.returncode}: {said[-1500:]}")
    return replace(job, uid=reported_uid(job))


def _await_end(pids: list[int]) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while alive := [pid for pid in pids if "transcription_worker" in command_line(pid)]:
        if time.monotonic() > deadline:
            raise HangError(f"outlived their `transcription run`: {[command_line(pid) for pid in alive]}")
        time.sleep(0.05)


def reported_uid(job: ChaosJob) -> str:
    """First eight characters of the uid of the one job that has a report; every run makes a uid of its own."""
    listed = job.server.client().list_objects_v2(Bucket=job.bucket, Prefix=f"{job.output}/_transcription/")
    found = [item["Key"] for item in listed["Contents"] if item["Key"].endswith("/report/summary.json")]
    return found[-1].split("/_transcription/")[1].split("/")[0].rpartition("-")[2] if found else "none"
