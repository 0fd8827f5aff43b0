"""The whole way of a recording under hostile inputs: S3, plan, fetch, decode, the real tiny model, commit, ledger."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.fuzz_cases import Case
from tests.chaos.fuzz_decode import CHILD_ONLY, DECODED, MAX_RECORDING_SECONDS, Verdict, peak_bytes, wrong_words
from tests.jobs import Job, descendants
from tests.s3server import S3Server, run_server
from transcription_worker.errors import Reason

MAX_WORKER_BYTES = 2 << 30
SECONDS_PER_INPUT, SECONDS_MORE = 3.0, 300.0
POLL_SECONDS = 0.05
OURS = frozenset({Reason.INTERNAL, Reason.MODEL_ERROR, Reason.STORE_ERROR, Reason.WORKER_LOST, Reason.NO_SPACE})
"""Reasons that no file is to blame for."""


@dataclass
class WorkFigures:
    """`peak_worker_bytes` is of the worker process with the model, `peak_child_bytes` of the largest decoder."""

    inputs: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    attempts: int = 0
    seconds: float = 0.0
    longest_recording_seconds: float = 0.0
    peak_worker_bytes: int = 0
    peak_child_bytes: int = 0
    left_in_scratch: int = 0
    faults: list[str] = field(default_factory=list)


def work_through(chosen: list[tuple[Case, Verdict]], folder: Path, keep: Path) -> WorkFigures:
    """Run one job over the inputs and compare what it says of each with what decoding alone said."""
    figures = WorkFigures(inputs=len(chosen))
    folder.mkdir(parents=True)
    with run_server(folder / "s3") as server:
        client = server.client()
        client.create_bucket(Bucket="fuzz")
        _upload(client, chosen)
        job = _job(folder, server)
        for entry in ("plan", "work", "report"):
            code, log = _run(job, entry, figures)
            if code != 0:
                figures.faults.append(f"{entry} ended with {code}: {log[-2000:]}")
            if "Traceback" in log:
                figures.faults.append(f"{entry} wrote a traceback: {log[log.index('Traceback') :][:2000]}")
        _compare(client, chosen, figures)
        uploads = client.list_multipart_uploads(Bucket="fuzz").get("Uploads", [])
        figures.faults += [f"a multipart upload is left: {upload['Key']}" for upload in uploads]
    figures.left_in_scratch = len(job.scratch_files())
    if figures.left_in_scratch:
        figures.faults.append(f"{figures.left_in_scratch} files are left in scratch")
    if figures.peak_worker_bytes > MAX_WORKER_BYTES:
        figures.faults.append(f"the worker took {figures.peak_worker_bytes >> 20} MiB")
    if figures.faults:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / "work-faults.json").write_text(json.dumps(figures.faults, indent=2))
    return figures


def _upload(client: Any, chosen: list[tuple[Case, Verdict]]) -> None:
    def put(case: Case) -> None:
        client.put_object(Bucket="fuzz", Key=f"in/{case.name}", Body=case.body)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, (case for case, _ in chosen)))


def _job(folder: Path, server: S3Server) -> Job:
    return Job.of(
        folder / "job",
        source="s3://fuzz/in",
        output="s3://fuzz/out",
        environment=server.environment,
        input={"uri": "s3://fuzz/in", "include": ["**"]},
        transcription={"maxRecordingSeconds": int(MAX_RECORDING_SECONDS)},
    )


def _run(job: Job, entry: str, figures: WorkFigures) -> tuple[int, str]:
    """One entry point to its end, under a deadline, with its memory watched."""
    command = [sys.executable, "-m", "transcription_worker", entry, "--local"]
    manifest = {**job.manifest, "metadata": {"name": job.name, "uid": "0123456789"}}
    environment = {
        **job.full_environment,
        "TRANSCRIPTION_JOB": json.dumps(manifest),
        "TRANSCRIPTION_SCRATCH": str(job.scratch),
        "TRANSCRIPTION_CACHE": str(job.folder / "cache"),
    }
    job.folder.mkdir(exist_ok=True)
    log = job.folder / f"{entry}.log"
    started = time.monotonic()
    deadline = started + SECONDS_MORE + SECONDS_PER_INPUT * figures.inputs
    with log.open("wb") as stream:
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream)
    try:
        while process.poll() is None and time.monotonic() < deadline:
            if entry == "work":
                figures.peak_worker_bytes = max(figures.peak_worker_bytes, peak_bytes(process.pid))
                children = (peak_bytes(pid) for pid in descendants(process.pid))
                figures.peak_child_bytes = max(figures.peak_child_bytes, *children, 0)
            time.sleep(POLL_SECONDS)
    finally:
        if process.poll() is None:
            figures.faults.append(f"{entry} had to be killed")
            process.kill()
        process.wait()
    if entry == "work":
        figures.seconds = round(time.monotonic() - started, 1)
    return process.returncode, log.read_text(errors="replace")


def _compare(client: Any, chosen: list[tuple[Case, Verdict]], figures: WorkFigures) -> None:
    keys = [
        found["Key"]
        for page in client.get_paginator("list_objects_v2").paginate(Bucket="fuzz", Prefix="out/")
        for found in page.get("Contents", ())
    ]
    outcomes: dict[str, list[dict[str, Any]]] = {}
    for key in keys:
        if "/ledger/" in key:
            for line in client.get_object(Bucket="fuzz", Key=key)["Body"].read().decode().split("\n"):
                if line:
                    outcome = json.loads(line)
                    outcomes.setdefault(outcome["key"], []).append(outcome)
    for case, verdict in chosen:
        found = outcomes.pop(case.name, [])
        if len(found) != 1:
            figures.faults.append(f"{case.name} has {len(found)} outcomes")
            continue
        outcome = found[0]
        said = outcome.get("reason") or (DECODED if outcome["state"] == "done" else outcome["state"])
        figures.outcomes[said] = figures.outcomes.get(said, 0) + 1
        figures.attempts += outcome["attempts"]
        figures.longest_recording_seconds = max(figures.longest_recording_seconds, outcome["decode_seconds"])
        where = f"{case.name} ({case.origin})"
        if said != DECODED:
            figures.faults += [f"{where}: {fault}" for fault in wrong_words(outcome["message"], case.name)]
        if said in OURS or (said != verdict.outcome and not {said, verdict.outcome} & CHILD_ONLY):
            figures.faults.append(f"{where}: {said} in a job, {verdict.outcome} alone: {outcome.get('message')}")
        if (said == DECODED) != (f"out/{case.name}.json" in keys):
            figures.faults.append(f"{where}: {said}, but its transcript says otherwise")
    figures.faults += [f"an outcome of {key}, which nobody put there" for key in outcomes]
