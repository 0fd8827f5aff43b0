"""A job that is scaled up while it runs: pods keep the template of before, and indexes reach beyond its replicas."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.jobs import Job
from transcription_worker.fault_points import VARIABLE, Point

COUNT = 400


def test_four_indexes_share_a_plan_made_for_two_and_settle_each_recording_once(tmp_path: Path) -> None:
    """Recordings that are none need no model: claims, ledgers and the workers' ends are what is looked at."""
    (tmp_path / "in").mkdir()
    for n in range(COUNT):
        (tmp_path / f"in/{n:03d}.wav").write_bytes(b"no audio at all\n" * (1 + n % 7))
    job = Job.of(
        tmp_path / "job",
        source=tmp_path / "in",
        output=tmp_path / "out",
        workers={"gpus": 0, "replicas": 2, "scratch": {"minFree": "1Mi"}},
    )
    assert job.entry_point("plan").returncode == 0
    workers: list[subprocess.Popen[str]] = []
    try:
        # Those beyond the plan's two begin alone and stand still with a claim each: of four that start at once, the
        # last may find nothing left.
        for index in (2, 3):
            workers.append(start(job, index, stops_at=Point.CLAIM_CREATED))
        workers += [start(job, index) for index in (0, 1)]
        for worker in workers[:2]:
            worker.send_signal(signal.SIGCONT)
        ended = [worker.communicate(timeout=300)[1] for worker in workers]
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait()
    assert [worker.returncode for worker in workers] == [0, 0, 0, 0], ended
    lines = [
        json.loads(line)
        for path in (tmp_path / "out").glob("_transcription/*/ledger/*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert Counter(line["key"] for line in lines) == Counter(f"{n:03d}.wav" for n in range(COUNT))
    assert {line["worker"].partition("/")[0] for line in lines} >= {"2", "3"}
    assert job.scratch_files() == []


def start(job: Job, index: int, stops_at: Point | None = None) -> subprocess.Popen[str]:
    """A worker; where it stops (SIGSTOP) on its way, it has done so."""
    manifest = {**job.manifest, "metadata": {"name": job.name, "uid": "0123456789"}}
    process = subprocess.Popen(
        [sys.executable, "-m", "transcription_worker", "work", "--local"],
        env={
            **job.full_environment,
            "TRANSCRIPTION_JOB": json.dumps(manifest),
            "TRANSCRIPTION_SCRATCH": str(job.scratch),
            "TRANSCRIPTION_CACHE": str(job.folder / "cache"),
            "JOB_COMPLETION_INDEX": str(index),
            **({VARIABLE: f"{stops_at}:1=SIGSTOP"} if stops_at else {}),
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    if stops_at:
        change = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert change is not None and change.si_code == os.CLD_STOPPED
    return process
