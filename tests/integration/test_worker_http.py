"""What workers tell over HTTP while they work, held against what they leave in the bucket."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.jobs import Job, wait_until
from tests.s3server import free_port
from tests.speech import make_recordings

pytestmark = pytest.mark.model

WORKER = [sys.executable, "-m", "transcription_worker"]
RECORDINGS = 240


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A planned job of many short recordings and one that is none, in some shards."""
    make_recordings(tmp_path / "in", RECORDINGS - 1)
    (tmp_path / "in/broken.flac").write_bytes(b"fLaC" + bytes(3000))
    job = Job.of(tmp_path / "job", source=tmp_path / "in", output=tmp_path / "out", transcription={"batchSeconds": 2})
    planned = job.entry_point("plan")
    assert planned.returncode == 0, planned.stderr
    return job


@contextmanager
def worker(job: Job, port: int, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    manifest = {**job.manifest, "metadata": {"name": job.name, "uid": "0123456789"}}
    process = subprocess.Popen(
        [*WORKER, "work", "--local", *arguments],
        env={
            **job.full_environment,
            "TRANSCRIPTION_JOB": json.dumps(manifest),
            "TRANSCRIPTION_SCRATCH": str(job.scratch),
            "TRANSCRIPTION_CACHE": str(job.folder / "cache"),
            "TRANSCRIPTION_LISTEN": f"127.0.0.1:{port}",
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


def ask(port: int, path: str) -> tuple[int, str] | None:
    """Status and body; None where nobody listens."""
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
    except (OSError, http.client.HTTPException):
        return None


def figures(port: int, path: str) -> dict[str, Any] | None:
    answer = ask(port, path)
    return json.loads(answer[1]) if answer and answer[0] == 200 else None


def ledgers(output: Path) -> list[list[dict[str, Any]]]:
    """The outcomes of each shard that has its ledger."""
    paths = sorted(output.glob("_transcription/*/ledger/*.jsonl"))
    return [[json.loads(line) for line in path.read_text().splitlines()] for path in paths]


def settled(job: dict[str, Any], workers: list[dict[str, Any]]) -> int:
    """What docs/running.md tells whoever shows progress to compute: ledgers, and of other shards the most told."""
    finished = {shard for first, last in job["finished_shards"] for shard in range(first, last + 1)}
    most: dict[int, int] = {}
    for told in workers:
        for name, counts in told["shards"].items():
            count = counts["done"] + counts["skipped"] + counts["failed"]
            most[int(name)] = max(most.get(int(name), 0), count)
    whole = int(job["done"] + job["skipped"] + job["failed"])
    return whole + sum(count for shard, count in most.items() if shard not in finished)


def test_a_worker_tells_how_far_it_and_the_job_are_until_it_ends(job: Job, tmp_path: Path) -> None:
    port = free_port()
    with ExitStack() as idle, worker(job, port) as process:
        wait_until(lambda: ask(port, "/healthz") == (200, "ok\n"))
        assert ask(port, "/readyz") == (503, "the model is not loaded yet\n"), (
            "the model cannot have been loaded by now"
        )
        for _ in range(8):  # clients that connect and say nothing
            idle.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        seen, own, whole, metrics = [], {}, {}, ""
        while process.poll() is None:
            told, totals = figures(port, "/progress"), figures(port, "/progress/job")
            if told and totals:
                own, whole = told, totals
                seen.append(settled(totals, [told]))
                if own["ready"]:
                    assert ask(port, "/readyz") in ((200, "ok\n"), None)
                metrics = (ask(port, "/metrics") or (0, ""))[1] or metrics
            time.sleep(0.1)
        assert process.returncode == 0, process.communicate()
    assert ask(port, "/healthz") is None
    assert seen == sorted(seen)
    assert 0 < max(seen) <= RECORDINGS
    assert len(set(seen)) > 5
    assert (own["index"], own["worker"].split("/")[0], own["draining"]) == (0, "0", False)
    assert own["model_digest"].startswith("sha256:")
    assert own["speed"] > 1
    assert (whole["recordings"], whole["shards"]) == (RECORDINGS, len(ledgers(tmp_path / "out")))
    lines = [line for shard in ledgers(tmp_path / "out") for line in shard]
    failed = [
        {name: line[name] for name in ("key", "reason", "message")} for line in lines if line["state"] == "failed"
    ]
    assert [line["key"] for line in failed] == ["broken.flac"]
    assert own["failures"] == failed[: own["failed"]]
    values = {
        (s.name, tuple(sorted(s.labels.values()))): s.value
        for family in text_string_to_metric_families(metrics)
        for s in family.samples
    }
    assert values["transcription_worker_recordings_total", ("", "done")] > 0
    assert values["transcription_worker_batches_total", ()] > 10
    assert values["process_resident_memory_bytes", ()] > 0


def test_progress_is_right_after_a_worker_was_killed_and_its_neighbour_did_the_rest(job: Job, tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    alone = ["--workers", "2", "--index"]
    with worker(job, ports[0], *alone, "0") as killed, worker(job, ports[1], *alone, "1") as other:
        wait_until(lambda: bool((figures(ports[0], "/progress") or {}).get("done")), 120)
        told = figures(ports[0], "/progress")
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert told is not None
        best = [0]
        last: dict[str, Any] = {}
        while other.poll() is None:
            own, totals = figures(ports[1], "/progress"), figures(ports[1], "/progress/job")
            if own and totals:
                last = totals
                best.append(settled(totals, [own]))
                assert best[-1] <= RECORDINGS
            time.sleep(0.1)
        assert other.returncode == 0, other.communicate()
    assert best == sorted(best)
    assert last["recordings"] == RECORDINGS
    keys = [line["key"] for shard in ledgers(tmp_path / "out") for line in shard]
    assert len(keys) == len(set(keys)) == RECORDINGS


def test_a_port_in_use_ends_the_worker_with_one_sentence(job: Job) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = job.entry_point("work", "--listen", f"127.0.0.1:{port}")
    assert refused.returncode == 78
    assert refused.stderr == f"Another process listens on 127.0.0.1:{port}; choose a free port with --listen.\n"
    assert job.scratch_files() == []
