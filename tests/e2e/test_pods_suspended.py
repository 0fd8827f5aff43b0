"""A job is suspended in the middle and goes on later: its pods go, what was done stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.scene import scene
from tests.s3server import S3Server

pytestmark = [pytest.mark.cluster, pytest.mark.s3, pytest.mark.model]

GONE_SECONDS = 90


def test_suspended_job_keeps_what_is_done_and_does_the_rest_when_it_goes_on(
    cluster: Cluster, namespace: str, s3: S3Server, tmp_path: Path
) -> None:
    output = f"suspended-{namespace}"
    with scene(cluster, namespace, s3, tmp_path, lets=5) as stage:
        jobs = stage.jobs
        stage.apply("calls", output)
        before = stage.await_middle(output)

        jobs.patch("calls", {"suspend": True})
        cluster.kubectl(
            "wait", "--for=condition=Suspended", "tj/calls", f"--namespace={namespace}", "--timeout=60s", timeout=90
        )

        def at_rest() -> bool:
            pods = jobs.pods("calls", "work")
            return all(pod["status"]["phase"] in ("Succeeded", "Failed") for pod in pods)

        wait_for(at_rest, GONE_SECONDS, "the worker to be gone")
        assert jobs.status("calls")["phase"] == "Suspended"
        assert jobs.condition("calls", "Complete")["reason"] == "SuspendedBySpec"
        assert stage.corpus.committed(output) == before

        stage.gate.open()
        jobs.patch("calls", {"suspend": False})
        outcomes = stage.finish("calls", output)
        assert {outcome["state"] for outcome in outcomes} == {"done"}
        after = stage.corpus.committed(output)
        assert {recording: after[recording] for recording in before} == before
        job = cluster.get("job", "calls-work", namespace)
        assert job is not None and job["status"].get("failedIndexes", "") == ""
        assert jobs.condition("calls", "Suspended")["status"] == "False"
        assert stage.complaints() == []
