"""Two workers share a plan, and `workers.replicas` goes up and down while they run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.corpus import Corpus
from tests.e2e.scene import START_SECONDS, scene
from tests.s3server import S3Server

pytestmark = [pytest.mark.cluster, pytest.mark.s3, pytest.mark.model]


def claimed(corpus: Corpus, output: str, job_id: str, index: int) -> set[int]:
    """The shards whose latest taker is this worker index."""
    takers: dict[int, tuple[int, dict[str, Any]]] = {}
    for key in corpus.keys(output, "claims/"):
        shard, taker = map(int, key.split(".")[:2])
        body = json.loads(corpus.read(f"{output}/_transcription/{job_id}/claims/{key}"))
        takers[shard] = max(takers.get(shard, (-1, {})), (taker, body), key=lambda found: found[0])
    return {shard for shard, (_, body) in takers.items() if body["index"] == index}


def recordings_of(corpus: Corpus, output: str, job_id: str, shard: int) -> list[str]:
    attempt = json.loads(corpus.read(f"{output}/_transcription/{job_id}/plan/plan.json"))["attempt"]
    return [line["key"] for line in corpus.lines(output, job_id, f"plan/{attempt}/shard-{shard:05d}.jsonl")]


def test_worker_that_is_added_shares_the_work_and_one_that_is_removed_drains(
    cluster: Cluster, namespace: str, s3: S3Server, tmp_path: Path
) -> None:
    output = f"scaled-{namespace}"
    with scene(cluster, namespace, s3, tmp_path, lets=3) as stage:
        corpus, jobs = stage.corpus, stage.jobs
        stage.apply("calls", output)
        first = stage.await_worker("calls", 0)["metadata"]["name"]
        stage.await_middle(output)
        job_id = stage.job_id("calls")

        jobs.patch("calls", {"workers": {"replicas": 2}})
        second = stage.await_worker("calls", 1)["metadata"]["name"]
        shard = min(wait_for(lambda: claimed(corpus, output, job_id, 1), START_SECONDS, "a claim of worker 1"))
        stage.gate.let(*recordings_of(corpus, output, job_id, shard))
        wait_for(lambda: f"{shard:05d}.jsonl" in corpus.keys(output, "ledger/"), START_SECONDS, "a ledger of worker 1")
        assert jobs.status("calls")["workers"]["desired"] == 2

        jobs.patch("calls", {"workers": {"replicas": 1}})
        wait_for(
            lambda: second not in {pod["metadata"]["name"] for pod in jobs.pods("calls", "work")}, 90, "worker 1 to go"
        )
        running = stage.worker("calls", 0)
        assert running is not None and running["metadata"]["name"] == first
        assert claimed(corpus, output, job_id, 1) == {shard}, "the removed worker handed back what it had not finished"

        stage.gate.open()
        outcomes = stage.finish("calls", output)
        by_worker = {outcome["key"]: outcome["worker"].split("/")[1] for outcome in outcomes}
        assert set(by_worker.values()) == {first, second}
        assert {key for key, pod in by_worker.items() if pod == second} == set(
            recordings_of(corpus, output, job_id, shard)
        )
        assert stage.complaints() == []
