"""A node may say that it has GPUs, and its driver or runtime give none: no worker computes in silence on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.scene import END_SECONDS, scene
from tests.s3server import S3Server

pytestmark = [pytest.mark.cluster, pytest.mark.s3, pytest.mark.model]


def gpus(pod: dict[str, Any]) -> dict[str, str | None]:
    """How many each container is limited to."""
    containers = [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]
    return {one["name"]: one["resources"].get("limits", {}).get("nvidia.com/gpu") for one in containers}


def test_worker_that_sees_no_gpu_ends_the_job_within_one_attempt_and_says_so(
    cluster: Cluster, namespace: str, s3: S3Server, tmp_path: Path
) -> None:
    if not cluster.own:
        pytest.skip("only the test cluster's node is known to count GPUs that it has not")
    output = f"unseen-{namespace}"
    with scene(cluster, namespace, s3, tmp_path, lets=100) as stage:
        jobs = stage.jobs
        stage.apply("calls", output, workers={"gpus": 1})
        jobs.await_condition("calls", "Failed", END_SECONDS)
        failed = jobs.condition("calls", "Failed")
        assert failed["reason"] == "Configuration"
        assert failed["message"].startswith("spec.workers.gpus asks for GPUs and none is visible")
        (pod,) = jobs.pods("calls", "work")
        assert gpus(pod) == {"sweep": None, "work": "1"}
        assert [gpus(pod) for pod in jobs.pods("calls", "plan")] == [{"plan": None}]
        (status,) = pod["status"]["containerStatuses"]
        assert status["state"]["terminated"]["exitCode"] == 78
        assert stage.corpus.committed(output) == {}
        assert stage.complaints() == []
