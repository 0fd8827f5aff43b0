"""The product: apply a TranscriptionJob, wait for Complete, find the transcripts in the bucket."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.operating import Jobs, install_crd, operator, running, upload
from tests.jobs import EXAMPLES, TINY_CTC
from tests.s3server import S3Server

pytestmark = [pytest.mark.cluster, pytest.mark.s3, pytest.mark.model]


def test_good_and_bad_recordings(cluster: Cluster, namespace: str, s3: S3Server, bucket: str, tmp_path: Path) -> None:
    client = s3.client()
    client.put_object(Bucket=bucket, Key="models/tiny.nemo", Body=TINY_CTC.read_bytes())
    for folder in ("audio", "bad-audio"):
        upload(s3, bucket, EXAMPLES / folder, f"in/{folder}/")
    install_crd(cluster)
    jobs = Jobs(cluster, namespace, s3)
    jobs.secret()
    manifest = jobs.manifest(
        "first",
        source=f"s3://{bucket}/in/",
        output=f"s3://{bucket}/out/",
        model=f"s3://{bucket}/models/tiny.nemo",
        failurePolicy={"maxFailedRecordings": "100%"},
    )
    with running(operator(cluster, tmp_path, namespace)) as one:
        jobs.apply(manifest)
        status = jobs.await_condition("first", "Complete", timeout=300)
        print(json.dumps(status, indent=1))
        print("\n".join(one.lines[-40:]))
    expected = {}
    for line in (EXAMPLES / "expected.jsonl").read_text().splitlines():
        row = json.loads(line)
        expected[row["file"]] = row
    print(list(expected)[:3])
