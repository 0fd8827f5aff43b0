"""A worker is evicted in the middle, as by `kubectl drain`: it drains, is not counted, and has a successor."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.scene import FAILURES, scene
from tests.s3server import S3Server

pytestmark = [pytest.mark.cluster, pytest.mark.s3, pytest.mark.model]


@contextmanager
def following(cluster: Cluster, *arguments: str, file: Path) -> Iterator[None]:
    """kubectl writes into the file until the block ends: a pod that goes takes its log and its status with it."""
    command = [cluster.program, f"--kubeconfig={cluster.kubeconfig}", *arguments]
    with file.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield
        finally:
            process.terminate()


def states(file: Path) -> list[dict[str, Any]]:
    """Every state of a pod that `kubectl get --watch --output=json` has written so far."""
    text, decoder, found, at = file.read_text(), json.JSONDecoder(), [], 0
    while (start := text.find("{", at)) >= 0:
        try:
            state, at = decoder.raw_decode(text, start)
        except json.JSONDecodeError:
            break  # is being written
        found.append(state)
    return found


def evict(cluster: Cluster, namespace: str, pod: str) -> None:
    """The Eviction API (policy/v1), as node drains and the descheduler use it."""
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
    cluster.kubectl("create", f"--raw={path}", "--filename=-", input=json.dumps(body))


def commands(cluster: Cluster, namespace: str, pod: str) -> list[str]:
    """Command lines of the processes in the main container."""
    found = []
    for pid in cluster.container_processes(namespace, pod, "work"):
        try:
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def test_evicted_worker_drains_and_costs_no_attempt(
    cluster: Cluster, namespace: str, s3: S3Server, tmp_path: Path
) -> None:
    if not cluster.own:
        pytest.skip("the processes of another cluster's pods cannot be seen from here")
    output = f"evicted-{namespace}"
    with scene(cluster, namespace, s3, tmp_path, lets=5) as stage:
        # one attempt only: an eviction that counted would end the index
        stage.apply("calls", output, failurePolicy={"attemptsPerWorker": 1})
        name = stage.await_worker("calls")["metadata"]["name"]
        before = stage.await_middle(output)
        place = f"--namespace={namespace}"
        log, watched = tmp_path / "log", tmp_path / "watched"
        with (
            following(cluster, "logs", name, place, "--container=work", "--follow", file=log),
            following(cluster, "get", "pod", name, place, "--watch", "--output=json", file=watched),
        ):
            wait_for(lambda: states(watched), 30, "the watch")
            evict(cluster, namespace, name)
            wait_for(
                lambda: any("transcription-worker drain" in line for line in commands(cluster, namespace, name)),
                30,
                "the preStop hook to run",
            )
            successor = stage.await_worker("calls", beside=name)
            ended = wait_for(
                lambda: [s for s in states(watched) if "terminated" in s["status"]["containerStatuses"][0]["state"]],
                30,
                "the end of the evicted pod",
            )[-1]
        assert ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 143
        reasons = {condition["type"]: condition.get("reason") for condition in ended["status"]["conditions"]}
        assert reasons["DisruptionTarget"] == "EvictionByEvictionAPI"
        assert "draining" in log.read_text()
        assert successor["metadata"]["annotations"][FAILURES] == "0"
        assert stage.corpus.committed(output) == before

        stage.gate.open()
        outcomes = stage.finish("calls", output)
        job = cluster.get("job", "calls-work", namespace)
        assert job is not None
        assert job["status"].get("failedIndexes", "") == ""
        assert [c["type"] for c in job["status"]["conditions"] if c["status"] == "True"][-1] == "Complete"
        # handed back: no shard had a second taker, and nobody worked with care
        assert {key.split(".", 1)[1] for key in stage.corpus.keys(output, "claims/")} == {"0"}
        workers = {outcome["worker"].split("/")[1] for outcome in outcomes}
        assert {successor["metadata"]["name"]} <= workers <= {name, successor["metadata"]["name"]}
        after = stage.corpus.committed(output)
        assert {recording: after[recording] for recording in before} == before
        assert stage.complaints() == []
