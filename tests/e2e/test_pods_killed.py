"""Kill everything, as pods: kill -9 for planner, workers, decoders, reporter and operator of one job, at random.

`E2E_KILLS=60 pytest tests/e2e/test_pods_killed.py` is the long form. The job controller lets the successor of a worker
wait longer each time, up to minutes, so that hundreds of kills belong to `python -m tests.chaos.kills`, which plays its
part with the same processes.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.chaos.fleet import ChaosJob
from tests.chaos.kills_corpus import make_corpus
from tests.chaos.kills_run import reported_uid
from tests.chaos.verdict import Reference, examine, reference_of
from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.corpus import Gate, gate_before
from tests.e2e.operating import Jobs, Operator, install_crd, operator, running, upload
from tests.e2e.scene import START_SECONDS, shared_scratch
from tests.jobs import TINY_CTC
from tests.s3server import S3Server

pytestmark = [pytest.mark.cluster, pytest.mark.s3, pytest.mark.model, pytest.mark.slow]

KILLS = int(os.environ.get("E2E_KILLS", "10"))
SEED = int(os.environ.get("E2E_SEED", "1"))
WORKERS = 4
STEP, FEW = 12, 4
"""So many recordings go on at first, and after each kill."""
RECORDINGS = STEP + FEW * KILLS + 80
"""More than four workers read at once are left at the last kill."""
BUCKET = "kills"


@dataclass
class Killer:
    """Kills what it draws and counts it."""

    jobs: Jobs
    operator: Operator
    rng: random.Random
    kills: Counter[str] = field(default_factory=Counter)

    def process(self, component: str, container: str, pick: Callable[[list[int]], int]) -> bool:
        """One process of a running pod, drawn among the pods of a component; False where none runs."""
        pods = [pod["metadata"]["name"] for pod in self.jobs.pods("job", component) if _runs(pod, container)]
        if not pods:
            return False
        with contextlib.suppress(StopIteration, IndexError, ProcessLookupError):
            pid = pick(self.jobs.cluster.container_processes(self.jobs.namespace, self.rng.choice(pods), container))
            os.kill(pid, signal.SIGKILL)
            return True
        return False

    def operator_process(self) -> bool:
        self.operator.kill()
        self.operator.start()
        return True

    def any_of_work(self) -> str:
        """A worker, one of its decoders, or the operator; what it was, nothing where it was not there."""
        name, kill = self.rng.choice(
            [
                ("worker", lambda: self.process("work", "work", lambda pids: pids[0])),
                ("decoder", lambda: self.process("work", "work", lambda pids: self.rng.choice(pids[1:]))),
                ("operator", self.operator_process),
            ]
        )
        if not kill():
            return ""
        self.kills[name] += 1
        return name

    def once(self, component: str) -> None:
        """The first pod of a step with one pod, as soon as its process is there; where it is quicker, none."""

        def end() -> str:
            if self.process(component, component, lambda pids: pids[0]):
                return "killed"
            phases = {pod["status"].get("phase") for pod in self.jobs.pods("job", component)}
            return "over" if "Succeeded" in phases else ""

        if wait_for(end, START_SECONDS, f"a {component} pod") == "killed":
            self.kills[component] += 1


def _runs(pod: dict, container: str) -> bool:
    statuses = pod["status"].get("containerStatuses", ())
    return any(one["name"] == container and "running" in one["state"] for one in statuses)


@dataclass
class Commits:
    """The transcripts that stand, and that none is written a second time."""

    server: S3Server
    seen: dict[str, str] = field(default_factory=dict)
    """Key -> ETag."""

    def count(self) -> int:
        pages = self.server.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="pods/")
        listed = {item["Key"]: item["ETag"] for page in pages for item in page.get("Contents", ())}
        now = {key: tag for key, tag in listed.items() if key.endswith(".json") and "/_transcription/" not in key}
        assert {key: now.get(key) for key in self.seen} == self.seen, "a transcript was written twice, or is gone"
        self.seen = now
        return len(now)


def undisturbed(job: ChaosJob) -> Reference:
    done = job.job.run()
    assert done.returncode == 0, done.stderr
    return reference_of(replace(job, uid=reported_uid(job)))


def test_everything_killed_loses_doubles_and_leaves_nothing(
    cluster: Cluster, namespace: str, s3: S3Server, tmp_path: Path
) -> None:
    if not cluster.own:
        pytest.skip("the processes of another cluster's nodes cannot be reached from here")
    install_crd(cluster)
    client, rng = s3.client(), random.Random(SEED)
    client.create_bucket(Bucket=BUCKET)
    client.put_object(Bucket=BUCKET, Key="models/tiny.nemo", Body=TINY_CTC.read_bytes())
    keys = make_corpus(tmp_path / "in", RECORDINGS, SEED)
    upload(s3, BUCKET, tmp_path / "in", "in/")
    reference = undisturbed(ChaosJob(tmp_path / "undisturbed", s3, BUCKET, "undisturbed", "", 1))

    job = ChaosJob(tmp_path / "pods", s3, BUCKET, "pods", "", WORKERS)
    job.folder.mkdir()
    claim = shared_scratch(cluster, namespace, job.job.scratch)
    with gate_before(s3, STEP) as gate, running(operator(cluster, tmp_path, namespace)) as one:
        jobs = Jobs(cluster, namespace, gate.server)
        jobs.secret()
        spec = job.job.spec
        scratch = {"minFree": "1Mi", "volume": {"persistentVolumeClaim": {"claimName": claim}}}
        manifest = jobs.manifest(
            "job",
            source=spec["input"]["uri"],
            output=spec["output"]["uri"],
            model=spec["model"]["uri"],
            workers={"replicas": WORKERS, "scratch": scratch},
            **{name: spec[name] for name in ("failurePolicy", "transcription")},
        )
        manifest["spec"]["output"] = spec["output"]
        jobs.apply(manifest)
        killer = Killer(jobs, one, rng)
        commits = Commits(s3)
        killer.once("plan")
        kill_workers(killer, gate, commits)
        gate.open()
        killer.once("report")
        jobs.await_condition("job", "Complete", 600)
        uid = jobs.get("job")["metadata"]["uid"]
        print(f"seed {SEED}: {killer.kills.total()} kills {dict(killer.kills)}")
        wait_for(lambda: not any(_runs(pod, "work") for pod in jobs.pods("job", "work")), 60, "the workers' end")
    commits.count()
    verdict = examine(replace(job, uid=uid), reference, [])
    assert verdict.faults == []
    assert verdict.planned == len(keys)


def kill_workers(killer: Killer, gate: Gate, commits: Commits) -> None:
    """So many kills, each after something new was committed, so that every life does some of the work."""
    gone_on: set[str] = set()

    def waiting() -> list[str]:
        found = sorted(gate.held - gone_on)
        return found if len(found) >= FEW else []

    while killer.kills.total() < KILLS:
        before = commits.count()
        chosen = killer.rng.sample(wait_for(waiting, START_SECONDS, "workers that read"), FEW)
        gate.let(*chosen)
        gone_on.update(chosen)
        wait_for(lambda: commits.count() > before, START_SECONDS, "a worker that goes on")  # noqa: B023
        killer.any_of_work()
