"""Workers that are killed: replaced, with nothing lost, doubled or left; and a recording that always kills its own."""

from __future__ import annotations

import fcntl
import json
import os
import signal
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.scene import END_SECONDS, FAILURES, START_SECONDS, scene, shared_scratch
from tests.s3server import S3Server
from transcription_worker.scratch_lease import MARKER

pytestmark = [pytest.mark.cluster, pytest.mark.s3, pytest.mark.model]


def owners(scratch: Path) -> dict[str, bool]:
    """Owner directory -> whether a process that lives holds its lease."""
    found = {}
    for lease in scratch.glob("owner-*.lease"):
        with lease.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found[lease.stem] = True
            else:
                found[lease.stem] = False
    return found


def files_of(scratch: Path, owner: str) -> list[str]:
    return sorted(path.name for path in (scratch / owner).rglob("nemo_*"))


def test_killed_worker_is_replaced_and_nothing_is_lost_doubled_or_left(
    cluster: Cluster, namespace: str, s3: S3Server, tmp_path: Path
) -> None:
    if not cluster.own:
        pytest.skip("the processes and directories of another cluster's nodes cannot be reached from here")
    scratch, output = tmp_path / "nvme", f"killed-{namespace}"
    claim = shared_scratch(cluster, namespace, scratch)
    volume = {"minFree": "10Mi", "volume": {"persistentVolumeClaim": {"claimName": claim}}}
    with scene(cluster, namespace, s3, tmp_path, lets=6) as stage:
        stage.apply("shared", output, workers={"replicas": 2, "scratch": volume})
        victim = stage.await_worker("shared", 0)["metadata"]["name"]
        neighbour = stage.await_worker("shared", 1)["metadata"]["name"]
        before = stage.await_middle(output)
        wait_for(lambda: list(owners(scratch).values()) == [True, True], 30, "two live owners")

        os.kill(cluster.container_processes(namespace, victim, "work")[0], signal.SIGKILL)
        (orphan,) = wait_for(lambda: [o for o, alive in owners(scratch).items() if not alive], 30, "the owner's death")
        assert files_of(scratch, orphan), "the killed worker left no file, so that the test shows nothing"
        live = {owner: files_of(scratch, owner) for owner in owners(scratch) if owner != orphan}

        successor = stage.await_worker("shared", 0, beside=victim)
        assert successor["metadata"]["annotations"][FAILURES] == "1"
        (swept,) = successor["status"]["initContainerStatuses"]
        told = json.loads(swept["state"]["terminated"]["message"])
        assert (told["orphans"], told["failed"]) == (1, 0)
        assert told["removed"] >= 2
        assert orphan not in {path.name for path in scratch.iterdir()}
        assert {owner: files_of(scratch, owner) for owner in live} == live
        assert stage.worker("shared", 1, beside=neighbour) is None

        stage.gate.open()
        stage.finish("shared", output)
        after = stage.corpus.committed(output)
        assert {recording: after[recording] for recording in before} == before
        assert stage.complaints() == []
    assert {path.name for path in scratch.iterdir()} == {MARKER}


def test_recording_that_kills_its_workers_is_given_up_and_costs_no_other(
    cluster: Cluster, namespace: str, s3: S3Server, tmp_path: Path
) -> None:
    """Two workers die while they hold one recording, as where it makes the GPU or the memory fail."""
    if not cluster.own:
        pytest.skip("the processes of another cluster's nodes cannot be reached from here")
    output = f"lost-{namespace}"
    with scene(cluster, namespace, s3, tmp_path, lets=0) as stage:
        killer, *others = sorted(stage.corpus.names)
        stage.gate.let(*others)
        stage.apply("calls", output, failurePolicy={"attemptsPerRecording": 2})

        def all_but_the_killer() -> bool:
            return stage.corpus.committed(output).keys() == set(others) and killer in stage.gate.held

        def announced() -> set[str]:
            """The shards' announcements, beside their claims."""
            return {key for key in stage.corpus.keys(output, "claims/") if key.count(".") == 2}

        victim = ""
        for met in (all_but_the_killer, announced):
            worker = stage.await_worker("calls", beside=victim)
            wait_for(met, START_SECONDS, "a worker that holds the recording")
            victim = worker["metadata"]["name"]
            os.kill(cluster.container_processes(namespace, victim, "work")[0], signal.SIGKILL)

        stage.jobs.await_condition("calls", "Complete", END_SECONDS)
        assert stage.jobs.condition("calls", "Complete")["reason"] == "CompletedWithFailures"
        outcomes = {
            one["key"]: one for one in stage.corpus.lines(output, stage.job_id("calls"), "report/manifest.jsonl")
        }
        assert outcomes.keys() == stage.corpus.names
        assert {outcomes[name]["state"] for name in others} == {"done"}
        assert (outcomes[killer]["state"], outcomes[killer]["reason"]) == ("failed", "WorkerLost")
        (shown,) = stage.jobs.status("calls")["failures"]
        assert (shown["key"], shown["reason"]) == (killer, "WorkerLost")
        assert stage.corpus.committed(output).keys() == set(others)
        assert stage.complaints() == []
