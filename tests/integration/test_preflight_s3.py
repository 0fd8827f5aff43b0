"""`sweep --check-model` against a real S3 server: one sentence and the right exit code before a GPU waits."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.jobs import TINY_CTC, Job
from tests.s3server import S3Server, add_user, free_port

pytestmark = pytest.mark.s3


@pytest.fixture
def job(tmp_path: Path, s3: S3Server, bucket: str) -> Job:
    s3.client().upload_file(str(TINY_CTC), bucket, "models/tiny.nemo")
    return job_with(tmp_path, s3, bucket, "models/tiny.nemo")


def job_with(tmp_path: Path, s3: S3Server, bucket: str, key: str, **environment: str) -> Job:
    log = tmp_path / "termination-log"
    log.touch()
    return Job.of(
        tmp_path / "job",
        source=f"s3://{bucket}/calls/",
        output=f"s3://{bucket}/transcripts",
        environment={
            **s3.environment,
            "KUBERNETES_SERVICE_HOST": "10.0.0.1",
            "TRANSCRIPTION_TERMINATION_LOG": str(log),
            **environment,
        },
        model={"uri": f"s3://{bucket}/{key}"},
    )


def check(job: Job) -> tuple[int, str, str]:
    """Exit code, standard error, termination message."""
    ran: subprocess.CompletedProcess[str] = job.entry_point("sweep", "--check-model")
    return ran.returncode, ran.stderr, Path(job.environment["TRANSCRIPTION_TERMINATION_LOG"]).read_text()


def test_a_model_that_is_there_passes(job: Job) -> None:
    code, errors, left = check(job)
    assert (code, errors) == (0, "")
    assert json.loads(left)["free_bytes"] > 0
    assert not (job.folder / "cache").exists()


def test_an_absent_model_is_one_sentence(job: Job, tmp_path: Path, s3: S3Server, bucket: str) -> None:
    code, errors, left = check(job_with(tmp_path, s3, bucket, "models/none.nemo"))
    assert code == 78
    assert errors == f"{left}\n"
    assert left == f"The model s3://{bucket}/models/none.nemo does not exist; correct spec.model.uri."


def test_a_denied_model_is_one_sentence(job: Job, tmp_path: Path, s3: S3Server, bucket: str) -> None:
    add_user(s3, "stranger", "stranger-secret")
    keys = {"AWS_ACCESS_KEY_ID": "stranger", "AWS_SECRET_ACCESS_KEY": "stranger-secret"}
    code, errors, left = check(job_with(tmp_path, s3, bucket, "models/tiny.nemo", **keys))
    assert (code, len(errors.splitlines())) == (78, 1)
    assert "denied" in left


def test_a_store_that_is_away_is_worth_another_attempt(tmp_path: Path, s3: S3Server, bucket: str) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    code, errors, left = check(job_with(tmp_path, s3, bucket, "models/tiny.nemo", AWS_ENDPOINT_URL=away))
    assert (code, len(errors.splitlines())) == (75, 1)
    assert f"{away} cannot be reached" in left


@pytest.mark.root
def test_a_cache_without_room_for_the_model_is_told(job: Job, tmp_path: Path, s3: S3Server, bucket: str) -> None:
    s3.client().put_object(Bucket=bucket, Key="models/large.nemo", Body=bytes(8 << 20))
    large = job_with(tmp_path, s3, bucket, "models/large.nemo")
    cache = large.folder / "cache"
    cache.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(cache)], check=True)
    try:
        code, _, left = check(large)
    finally:
        subprocess.run(["umount", str(cache)], check=True)
    assert code == 78
    assert "for a model of 8388608 bytes: give it a larger volume" in left
