"""`transcription run` from S3 to S3: a real server, a real model, real kills and real mistakes."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.jobs import TINY_CTC, Job, command_line, descendants, wait_until, without_toolkit, worker_pids
from tests.s3server import add_user
from tests.speech import make_recordings
from transcription_worker.model_source import sha256_of

pytestmark = [pytest.mark.s3, pytest.mark.model]


@pytest.fixture
def recordings(tmp_path, s3, bucket):
    made = make_recordings(tmp_path / "in", 12)
    client = s3.client()
    for key in made:
        client.upload_file(str(tmp_path / "in" / key), bucket, f"calls/{key}")
    return made


def job_of(tmp_path, s3, bucket, environment=None, **spec):
    return Job.of(
        tmp_path / "job",
        source=f"s3://{bucket}/calls/",
        output=f"s3://{bucket}/transcripts",
        environment={**s3.environment, **(environment or {})},
        **spec,
    )


def objects(s3, bucket, prefix=""):
    pages = s3.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {o["Key"]: o["ETag"] for page in pages for o in page.get("Contents", [])}


def texts(s3, bucket):
    found = {}
    for key in objects(s3, bucket, "transcripts/"):
        if key.endswith(".wav.json"):
            body = s3.client().get_object(Bucket=bucket, Key=key)["Body"].read()
            found[key.removeprefix("transcripts/").removesuffix(".json")] = json.loads(body)["text"]
    return found


def outcomes(s3, bucket):
    lines = []
    for key in objects(s3, bucket, "transcripts/_transcription/"):
        if "/ledger/" in key:
            body = s3.client().get_object(Bucket=bucket, Key=key)["Body"].read().decode()
            lines += [json.loads(line) for line in body.splitlines()]
    return lines


def test_a_job_from_bucket_to_bucket(tmp_path, s3, bucket, recordings):
    job = job_of(tmp_path, s3, bucket)
    done = job.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert texts(s3, bucket) == recordings
    metadata = s3.client().head_object(Bucket=bucket, Key="transcripts/0/r0000.wav.json")["Metadata"]
    source = s3.client().head_object(Bucket=bucket, Key="calls/0/r0000.wav")["ETag"].strip('"')
    assert metadata["source-etag"] == source
    assert {"report/index.html", "report/summary.json", "report/manifest.jsonl"} <= {
        "/".join(key.split("/")[-2:]) for key in objects(s3, bucket)
    }
    assert job.scratch_files() == []
    assert "Uploads" not in s3.client().list_multipart_uploads(Bucket=bucket)

    before = {k: e for k, e in objects(s3, bucket, "transcripts/").items() if "_transcription" not in k}
    again = job.run()
    assert again.returncode == 0
    assert "Nothing to do: all 12 recordings have a current transcript." in again.stdout
    assert {k: e for k, e in objects(s3, bucket, "transcripts/").items() if "_transcription" not in k} == before


def test_workers_killed_at_random_lose_nothing_and_double_nothing(tmp_path, s3, bucket, recordings):
    job = job_of(tmp_path, s3, bucket, failurePolicy={"attemptsPerWorker": 10}, transcription={"batchSeconds": 2})
    run = job.start("--workers", "2")
    for kill in range(3):
        wait_until(lambda: len(worker_pids(run.pid)) == 2 or run.poll() is not None)
        wait_until(lambda: len(objects(s3, bucket, "transcripts/_transcription/")) > 8 or run.poll() is not None)
        pids = worker_pids(run.pid)
        if pids:
            victim = pids[kill % len(pids)]
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda dead=victim: dead not in worker_pids(run.pid))
    output, _ = run.communicate(timeout=400)
    assert run.returncode == 0, output
    assert texts(s3, bucket) == recordings
    assert sorted(line["key"] for line in outcomes(s3, bucket)) == sorted(recordings)
    assert job.scratch_files() == []


def test_a_job_whose_store_process_is_killed_goes_on_without_it(tmp_path, s3, bucket, recordings):
    job = job_of(tmp_path, s3, bucket, transcription={"batchSeconds": 2})
    run = job.start()
    wait_until(lambda: texts(s3, bucket) or run.poll() is not None)
    (child,) = store_processes(run.pid)
    os.kill(child, signal.SIGKILL)
    output, _ = run.communicate(timeout=400)
    assert run.returncode == 0, output
    assert texts(s3, bucket) == recordings
    assert sorted(line["key"] for line in outcomes(s3, bucket)) == sorted(recordings)
    assert job.scratch_files() == []


def store_processes(run_pid):
    """Children of the workers of a run that make requests to the store."""
    return [pid for pid in descendants(run_pid) if "transcription_worker.store.child" in command_line(pid)]


def test_a_recording_replaced_during_the_run_is_changed_and_the_next_run_takes_it(tmp_path, s3, bucket, recordings):
    job = job_of(tmp_path, s3, bucket)
    assert job.entry_point("plan").returncode == 0
    s3.client().upload_file(str(tmp_path / "in/1/r0001.wav"), bucket, "calls/0/r0000.wav")
    worked = job.entry_point("work")
    assert worked.returncode == 0, worked.stderr
    changed = [line for line in outcomes(s3, bucket) if line["state"] == "failed"]
    assert [(line["key"], line["reason"]) for line in changed] == [("0/r0000.wav", "Changed")]
    assert job.run().returncode == 0
    assert texts(s3, bucket) == {**recordings, "0/r0000.wav": "left right go"}


def test_a_manifest_in_the_bucket(tmp_path, s3, bucket, recordings):
    chosen = sorted(recordings)[:3]
    lines = [json.dumps({"key": key}) for key in chosen] + [f'{{"uri": "s3://{bucket}/calls/gone.wav"}}']
    s3.client().put_object(Bucket=bucket, Key="calls/list.jsonl", Body="\n".join(lines))
    spec = {"input": {"manifest": f"s3://{bucket}/calls/list.jsonl"}, "failurePolicy": {"maxFailedRecordings": 1}}
    job = job_of(tmp_path, s3, bucket)
    job.spec.update(spec)
    done = job.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert texts(s3, bucket) == {key: recordings[key] for key in chosen}
    assert [line["reason"] for line in outcomes(s3, bucket) if line["state"] == "failed"] == ["NotFound"]


def test_a_model_in_the_bucket_is_fetched_once_and_pinned(tmp_path, s3, bucket, recordings):

    s3.client().upload_file(str(TINY_CTC), bucket, "models/tiny.nemo")
    model = {"uri": f"s3://{bucket}/models/tiny.nemo", "sha256": sha256_of(TINY_CTC)}
    job = job_of(tmp_path, s3, bucket, model=model)
    done = job.run("--workers", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert texts(s3, bucket) == recordings
    cached = [p for p in (job.folder / "cache").rglob("*") if p.is_file() and p.stat().st_size > 1000]
    assert len(cached) == 1


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        ({"environment": {"AWS_SECRET_ACCESS_KEY": "wrong"}}, "AWS_SECRET_ACCESS_KEY"),
        ({"input": {"uri": "s3://no-such-bucket-here/x"}}, "no-such-bucket-here"),
        ({"output": {"uri": "s3://no-such-bucket-here/x"}}, "no-such-bucket-here"),
        ({"input": {"uri": "s3://{bucket}/empty/"}}, "No recording in s3://{bucket}/empty/"),
        ({"model": {"uri": "s3://{bucket}/no.nemo"}}, "no.nemo"),
    ],
)
def test_a_mistake_is_one_sentence_before_any_model_is_loaded(tmp_path, s3, bucket, recordings, mistake, sentence):
    filled = json.loads(json.dumps(mistake).replace("{bucket}", bucket))
    environment = {**without_toolkit(tmp_path / "guard"), **filled.pop("environment", {})}
    job = job_of(tmp_path, s3, bucket, environment=environment)
    job.spec.update(filled)
    done = job.run()
    assert done.returncode == 78, done.stdout + done.stderr
    assert sentence.replace("{bucket}", bucket) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert job.scratch_files() == []


def test_a_prefix_that_may_not_be_written_is_said_before_any_model_is_loaded(tmp_path, s3, bucket, recordings):
    add_user(s3, "reader", "reader-secret")
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": ["reader"]},
                "Action": ["s3:ListBucket", "s3:GetObject"],
                "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
            }
        ],
    }
    s3.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    reader = {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "reader-secret"}
    done = job_of(tmp_path, s3, bucket, environment=reader).run()
    assert done.returncode == 78, done.stdout + done.stderr
    assert f"s3://{bucket}/transcripts" in done.stderr
    assert "denied" in done.stderr.lower()
    assert not Path(tmp_path / "job/cache").exists() or not any((tmp_path / "job/cache").rglob("*.nemo"))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root on Linux")
def test_a_scratch_that_is_too_small_for_one_recording_costs_only_that_one(tmp_path, s3, bucket, recordings):
    s3.client().put_object(Bucket=bucket, Key="calls/huge.wav", Body=b"RIFF" + bytes(40 << 20))
    job = job_of(tmp_path, s3, bucket, failurePolicy={"maxFailedRecordings": 1, "attemptsPerRecording": 2})
    job.scratch.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(job.scratch)], check=True)
    try:
        done = job.run()
        left = job.scratch_files()
    finally:
        subprocess.run(["umount", str(job.scratch)], check=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert texts(s3, bucket) == recordings
    failed = [line for line in outcomes(s3, bucket) if line["state"] == "failed"]
    assert [(line["key"], line["reason"], line["attempts"]) for line in failed] == [("huge.wav", "NoSpace", 2)]
    assert left == []
