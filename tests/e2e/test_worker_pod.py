"""A worker as a pod of its own, without the operator: asked by probes, drained by its hook, heard by the kubelet."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import RESTRICTED, Cluster, wait_for, worker_environment_volumes
from tests.jobs import TINY_CTC, Job
from tests.s3server import S3Server
from tests.speech import make_recordings

pytestmark = [pytest.mark.cluster, pytest.mark.s3, pytest.mark.model]

UID = "0123456789abcdef"
FINALIZER = "transcription-operator.io/seen-by-test"
"""Keeps a deleted pod's status until the test has read it."""


@pytest.fixture
def job(tmp_path: Path, s3: S3Server, bucket: str) -> Job:
    """A planned job in S3, enough for a worker to be busy until it is drained."""
    client = s3.client()
    for key in make_recordings(tmp_path / "in", 400):
        client.upload_file(str(tmp_path / "in" / key), bucket, f"calls/{key}")
    client.upload_file(str(TINY_CTC), bucket, "models/tiny.nemo")
    job = Job.of(
        tmp_path / "job",
        source=f"s3://{bucket}/calls/",
        output=f"s3://{bucket}/transcripts",
        environment=s3.environment,
        model={"uri": f"s3://{bucket}/models/tiny.nemo"},
        transcription={"batchSeconds": 1},
    )
    planned = job.entry_point("plan", uid=UID)
    assert planned.returncode == 0, planned.stderr
    return job


def worker_pod(cluster: Cluster, namespace: str, image: str, job: Job) -> dict[str, Any]:
    environment = worker_environment_volumes(cluster, namespace)
    manifest = json.dumps({**job.manifest, "metadata": {"name": job.name, "uid": UID}})
    variables = {
        **job.environment,
        "TRANSCRIPTION_JOB": manifest,
        "TRANSCRIPTION_SCRATCH": "/scratch",
        "TRANSCRIPTION_CACHE": "/cache",
        "TRANSCRIPTION_LISTEN": "0.0.0.0:8080",
        "HOME": "/scratch",
    }
    shared = {
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "securityContext": RESTRICTED,
        "env": [*environment.env, *({"name": name, "value": value} for name, value in variables.items())],
        "volumeMounts": [
            *environment.volume_mounts,
            {"name": "scratch", "mountPath": "/scratch"},
            {"name": "cache", "mountPath": "/cache"},
        ],
    }
    sweep = {"name": "sweep", "command": ["transcription-worker", "sweep", "--check-model"], **shared}
    work = {
        "name": "work",
        "command": ["transcription-worker", "work"],
        "lifecycle": {"preStop": {"exec": {"command": ["transcription-worker", "drain"]}}},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1},
        **shared,
    }
    empty: list[dict[str, Any]] = [{"name": name, "emptyDir": {}} for name in ("scratch", "cache")]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "worker", "finalizers": [FINALIZER]},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 120,
            "automountServiceAccountToken": False,
            "securityContext": {"fsGroup": 65532},
            "initContainers": [sweep],
            "containers": [work],
            "volumes": [*environment.volumes, *empty],
        },
    }


def terminated(cluster: Cluster, namespace: str, kind: str) -> dict[str, Any] | None:
    pod = cluster.get("pod", "worker", namespace) or {}
    statuses = pod.get("status", {}).get(kind) or [{}]
    return dict(statuses[0].get("state", {}).get("terminated") or {}) or None


def release(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl(
        "patch", "pod", "worker", f"--namespace={namespace}", "--type=json",
        '--patch=[{"op": "remove", "path": "/metadata/finalizers"}]',
    )  # fmt: skip


def test_a_deleted_pod_drains_by_its_hook_and_leaves_no_complaint(
    cluster: Cluster, namespace: str, worker_image: str, job: Job, s3: S3Server, bucket: str
) -> None:
    cluster.apply(worker_pod(cluster, namespace, worker_image, job), namespace=namespace)
    try:
        place = f"--namespace={namespace}"
        cluster.kubectl("wait", "--for=condition=Ready", "pod/worker", place, "--timeout=240s", timeout=300)
        swept = terminated(cluster, namespace, "initContainerStatuses")
        assert swept is not None
        assert json.loads(swept["message"])["orphans"] == 0
        pod = cluster.get("pod", "worker", namespace)
        assert pod is not None
        with urllib.request.urlopen(f"http://{pod['status']['podIP']}:8080/progress", timeout=10) as answer:
            progress = json.load(answer)
        assert (progress["ready"], progress["worker"].split("/")[1:]) == (True, ["worker", "1"])
        cluster.kubectl("delete", "pod", "worker", place, "--wait=false")
        ended = wait_for(lambda: terminated(cluster, namespace, "containerStatuses"), 90, "the end of the worker")
        assert ended["exitCode"] == 143
        complaints = cluster.kubectl(
            "get", "events", place, "--field-selector=type=Warning,involvedObject.name=worker", "--output=json"
        )
        reasons = {event["reason"] for event in json.loads(complaints.stdout)["items"]}
        assert "FailedPreStopHook" not in reasons
    finally:
        release(cluster, namespace)
    client = s3.client()
    transcripts = client.list_objects_v2(Bucket=bucket, Prefix="transcripts/")["Contents"]
    assert 0 < sum(o["Key"].endswith(".wav.json") for o in transcripts) < 400
    own = f"transcripts/_transcription/{job.name}-{UID[:8]}"
    claimed, finished = (
        {o["Key"].rpartition("/")[2].partition(".")[0] for o in transcripts if o["Key"].startswith(f"{own}/{folder}/")}
        for folder in ("claims", "ledger")
    )
    assert claimed <= finished, "unfinished shards are handed back"


def test_a_model_that_is_not_there_ends_the_init_container_with_its_sentence(
    cluster: Cluster, namespace: str, worker_image: str, job: Job, bucket: str
) -> None:
    job.spec["model"] = {"uri": f"s3://{bucket}/models/none.nemo"}
    cluster.apply(worker_pod(cluster, namespace, worker_image, job), namespace=namespace)
    try:
        ended = wait_for(lambda: terminated(cluster, namespace, "initContainerStatuses"), 120, "the end of the sweep")
        assert ended["exitCode"] == 78
        assert ended["message"] == f"The model s3://{bucket}/models/none.nemo does not exist; correct spec.model.uri."
    finally:
        release(cluster, namespace)
