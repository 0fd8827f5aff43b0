"""A drain ends soon, whatever the worker waits for, and leaves nothing: slow and silent stores, PID 1, a cold start."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.jobs import REPOSITORY, TINY_CTC, Job, wait_until
from tests.s3proxy import Fault, Hang, Pass, Proxy, Request, Trickle, faulty
from tests.s3server import S3Server
from transcription_worker.pipeline import LEAVE_SECONDS

SCRIPT = Path(sys.executable).with_name("transcription-worker")
LARGE = bytes(64 << 20)


@contextmanager
def started(command: Sequence[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


def environment_of(job: Job, **changes: str) -> dict[str, str]:
    manifest = {**job.manifest, "metadata": {"name": job.name, "uid": "0123456789"}}
    return {
        **job.full_environment,
        "TRANSCRIPTION_JOB": json.dumps(manifest),
        "TRANSCRIPTION_SCRATCH": str(job.scratch),
        "TRANSCRIPTION_CACHE": str(job.folder / "cache"),
        **changes,
    }


def s3_job(tmp_path: Path, s3: S3Server, bucket: str, **spec: Any) -> Job:
    client = s3.client()
    client.put_object(Bucket=bucket, Key="calls/large.wav", Body=LARGE)
    client.put_object(Bucket=bucket, Key="models/large.nemo", Body=TINY_CTC.read_bytes() + LARGE)
    job = Job.of(
        tmp_path / "job",
        source=f"s3://{bucket}/calls/",
        output=f"s3://{bucket}/transcripts",
        environment=s3.environment,
        **spec,
    )
    planned = job.entry_point("plan")
    assert planned.returncode == 0, planned.stderr
    return job


def drained(process: subprocess.Popen[str]) -> float:
    """Seconds from SIGTERM to the end."""
    begun = time.monotonic()
    process.terminate()
    assert process.wait(120) == 143, process.communicate()
    return time.monotonic() - begun


FAULTS = [(Trickle(3_000_000), LEAVE_SECONDS), (Hang(after=300_000), LEAVE_SECONDS + 10)]
"""With the seconds that a drain may take: a slow fetch is ended between chunks, a silent one is left behind."""


@pytest.mark.s3
@pytest.mark.parametrize(("fault", "seconds"), FAULTS, ids=["slow", "silent"])
def test_a_fetch_under_way_does_not_hold_up_the_drain(
    fault: Fault, seconds: float, tmp_path: Path, s3: S3Server, bucket: str
) -> None:
    job = s3_job(tmp_path, s3, bucket)
    with (
        slow(s3, "large.wav", fault) as proxy,
        started([str(SCRIPT), "work", "--local"], environment_of(job, AWS_ENDPOINT_URL=proxy.endpoint)) as worker,
    ):
        wait_until(lambda: any(job.scratch.glob("owner-*/nemo_*.wav")))
        assert drained(worker) < seconds
    assert job.scratch_files() == []
    claims = s3.client().list_objects_v2(Bucket=bucket, Prefix="transcripts/_transcription/job-01234567/claims/")
    assert claims["KeyCount"] == 0, "the shard is handed back"


@pytest.mark.s3
@pytest.mark.parametrize(("fault", "seconds"), FAULTS, ids=["slow", "silent"])
def test_a_model_download_under_way_does_not_hold_up_the_drain(
    fault: Fault, seconds: float, tmp_path: Path, s3: S3Server, bucket: str
) -> None:
    job = s3_job(tmp_path, s3, bucket, model={"uri": f"s3://{bucket}/models/large.nemo"})
    models = job.folder / "cache/models"
    with slow(s3, "large.nemo", fault) as proxy:
        environment = environment_of(job, AWS_ENDPOINT_URL=proxy.endpoint)
        with started([str(SCRIPT), "work", "--local"], environment) as worker:
            wait_until(lambda: any(models.glob("*.partial")))
            ended = subprocess.run(
                [str(SCRIPT), "drain", "--pid", str(worker.pid), "--timeout", str(seconds)],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert ended.returncode == 0, ended.stderr
            assert worker.wait(10) == 143
    assert job.scratch_files() == []
    assert [path.suffix for path in models.iterdir()] == [".lock"]


def slow(s3: S3Server, name: str, fault: Fault) -> AbstractContextManager[Proxy]:
    """A proxy that treats whoever reads an object of this name so."""

    def decide(request: Request, number: int) -> Fault:
        return fault if request.line.startswith("GET") and f"{name} " in request.line else Pass()

    return faulty(s3.endpoint, decide)


# -- the first process of a container


@pytest.fixture
def container(tmp_path: Path) -> Job:
    """A planned local job of one recording."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("a PID namespace needs root and util-linux")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.wav").write_bytes(bytes(100))
    job = Job.of(tmp_path / "job", source=tmp_path / "in", output=tmp_path / "out")
    planned = job.entry_point("plan")
    assert planned.returncode == 0, planned.stderr
    return job


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def in_namespace(pid: int, *command: str) -> list[str]:
    return ["nsenter", "--target", str(pid), "--pid", "--mount", *command]


@pytest.mark.root
@pytest.mark.parametrize("wait", ["at once", "when it works"])
def test_drain_reaches_the_worker_as_pid_1_from_its_first_moment(container: Job, tmp_path: Path, wait: str) -> None:
    """At once: before Python has put a handler in place, the kernel drops what is sent to a PID 1."""
    environment = environment_of(container, PYTHONPATH=str(_slow_start(tmp_path)))
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", str(SCRIPT), "work", "--local", "-v"]
    with started(unshare, environment) as outer:
        wait_until(lambda: bool(children(outer.pid)))
        first = children(outer.pid)[0]
        wait_until(lambda: b"transcription-worker" in Path(f"/proc/{first}/cmdline").read_bytes())
        if wait == "when it works":
            wait_until(lambda: any((tmp_path / "out").glob("_transcription/*/claims/*")))
        ended = subprocess.run(
            in_namespace(first, str(SCRIPT), "drain", "--timeout", "60"),
            env=environment_of(container),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert outer.wait(10) == 143, outer.communicate()
    assert container.scratch_files() == []


def _slow_start(folder: Path) -> Path:
    """Keeps a worker for a moment where it hears no signal yet, and then from ending by itself."""
    (folder / "slow").mkdir()
    (folder / "slow/sitecustomize.py").write_text(
        "import sys, time\n"
        "if 'work' in sys.argv:\n"
        "    time.sleep(1.5)\n"
        "    import transcription_worker.decode.decoder as decoder\n"
        "    whole = decoder.Decoder.decode\n"
        "    def decode(self, request):\n"
        "        time.sleep(3)\n"
        "        return whole(self, request)\n"
        "    decoder.Decoder.decode = decode\n"
    )
    return folder / "slow"


def test_the_console_script_is_what_a_container_runs() -> None:
    assert SCRIPT.exists()
    assert (
        'transcription-worker = "transcription_worker.cli:worker_main"' in (REPOSITORY / "pyproject.toml").read_text()
    )
