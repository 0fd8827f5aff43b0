"""A job that asks for GPUs where there is none: a pod says so, `transcription run` takes the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs import EXAMPLES, TINY_CTC, Job, texts
from tests.s3server import S3Server
from tests.speech import make_recordings
from transcription_worker.errors import Reason
from transcription_worker.outcome import Outcome, State, write_outcomes

pytestmark = pytest.mark.model

SCRIPTS = Path(sys.executable).parent


@pytest.fixture(autouse=True)
def no_gpu() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")


@pytest.mark.s3
def test_a_worker_in_a_pod_ends_with_what_to_change(tmp_path: Path, s3: S3Server, bucket: str) -> None:
    client = s3.client()
    client.put_object(Bucket=bucket, Key="in/a.wav", Body=(EXAMPLES / "audio/sound-check.wav").read_bytes())
    client.put_object(Bucket=bucket, Key="tiny.nemo", Body=TINY_CTC.read_bytes())
    job = Job.of(
        tmp_path / "job",
        source=f"s3://{bucket}/in/",
        output=f"s3://{bucket}/out",
        environment=s3.environment,
        model={"uri": f"s3://{bucket}/tiny.nemo"},
        workers={"gpus": 1, "scratch": {"minFree": "1Mi"}},
    )
    manifest = {**job.manifest, "metadata": {"name": "job", "uid": "0123456789"}}
    environment = {**job.full_environment, "TRANSCRIPTION_JOB": json.dumps(manifest)}
    places = ["--scratch", str(job.scratch), "--cache", str(tmp_path / "cache")]

    def call(step: str) -> subprocess.CompletedProcess[str]:
        command = [str(SCRIPTS / "transcription-worker"), step, *places]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert call("plan").returncode == 0
    done = call("work")
    assert done.returncode == 78, done.stderr
    assert done.stderr.splitlines()[-1].startswith("spec.workers.gpus asks for GPUs and none is visible")
    assert "Traceback" not in done.stderr
    assert job.scratch_files() == []

    # Another worker does it all: this one held its GPU in vain, as the one that failed did, and that costs as much.
    failed = Outcome(
        key="a.wav", etag="e", size=1, state=State.FAILED, reason=Reason.CORRUPT, message="a.wav is damaged."
    )
    client.put_object(
        Bucket=bucket, Key="out/_transcription/job-01234567/ledger/00000.jsonl", Body=write_outcomes([failed])
    )
    assert call("work").returncode == 0
    reported = call("report")
    assert reported.returncode == 0, reported.stderr
    summary = client.get_object(Bucket=bucket, Key="out/_transcription/job-01234567/report/summary.json")["Body"].read()
    usage = json.loads(summary)["usage"]
    assert usage["workers"] == 2
    assert usage["gpu_seconds"] == usage["worker_seconds"] > 0


def test_one_machine_without_a_gpu_runs_the_same_manifest(tmp_path: Path) -> None:
    make_recordings(tmp_path / "in", 1)
    workers = {"gpus": 1, "scratch": {"minFree": "1Mi"}}
    job = Job.of(tmp_path / "job", source=tmp_path / "in", output=tmp_path / "out", workers=workers)
    done = job.run()
    assert done.returncode == 0, done.stderr
    assert len(texts(tmp_path / "out")) == 1
    (summary,) = (tmp_path / "out").rglob("summary.json")
    assert json.loads(summary.read_text())["usage"]["gpu_seconds"] is None
