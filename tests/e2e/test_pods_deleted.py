"""A job, or its whole namespace, is deleted in the middle: nothing hangs, nothing is left, finished work stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.scene import scene
from tests.s3server import S3Server

pytestmark = [pytest.mark.cluster, pytest.mark.s3, pytest.mark.model]

GONE_SECONDS = 90


def test_deleted_job_leaves_nothing_but_transcripts_and_goes_on_when_applied_again(
    cluster: Cluster, namespace: str, s3: S3Server, tmp_path: Path
) -> None:
    output = f"deleted-{namespace}"
    with scene(cluster, namespace, s3, tmp_path, lets=5) as stage:
        stage.apply("calls", output)
        before = stage.await_middle(output)
        cluster.kubectl("delete", "transcriptionjob", "calls", f"--namespace={namespace}", "--wait=false")
        wait_for(lambda: not stage.jobs.children(), GONE_SECONDS, "everything to be gone")
        assert cluster.get("transcriptionjob", "calls", namespace) is None
        assert stage.corpus.committed(output) == before

        stage.gate.open()
        stage.apply("calls", output)
        outcomes = stage.finish("calls", output)
        assert {one["key"] for one in outcomes if one["state"] == "skipped"} == set(before)
        assert stage.jobs.status("calls")["report"]["skipped"] == len(before)
        after = stage.corpus.committed(output)
        assert {key: after[key] for key in before} == before
        assert stage.complaints() == []


def test_namespace_that_is_deleted_while_workers_run_goes(
    cluster: Cluster, namespace: str, s3: S3Server, tmp_path: Path
) -> None:
    output = f"left-{namespace}"
    with scene(cluster, namespace, s3, tmp_path, lets=0) as stage:
        stage.apply("calls", output)
        stage.await_worker("calls")
        wait_for(lambda: stage.gate.held, 60, "the worker to be in the middle")
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")
        wait_for(lambda: cluster.get("namespace", namespace) is None, GONE_SECONDS, "the namespace to be gone")
        assert stage.complaints() == []
