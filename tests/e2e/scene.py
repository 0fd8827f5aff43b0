"""A job over the corpus and a gate before the store, where a test meets workers in the middle; an operator with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.corpus import Corpus, Gate, corpus_on, gate_before, undisturbed
from tests.e2e.operating import Jobs, Operator, install_crd, operator, running
from tests.s3server import S3Server
from transcription_operator.constants import RUN_AS

START_SECONDS = 240
"""For a pod to be in the middle: importing the toolkit takes 12 s of CPU alone."""
END_SECONDS = 300
INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"


@dataclass(frozen=True)
class Stage:
    """One namespace. The output of a job is a folder of the corpus' bucket, named as the job in its namespace."""

    corpus: Corpus
    gate: Gate
    jobs: Jobs

    def apply(self, name: str, output: str, **spec: Any) -> None:
        """`spec` as in `Jobs.manifest`; small batches, so that work goes on in small steps."""
        spec.setdefault("transcription", {"batchSeconds": 4})
        output = self.corpus.output(output)
        manifest = self.jobs.manifest(name, source=self.corpus.source, output=output, model=self.corpus.model, **spec)
        self.jobs.apply(manifest)

    def worker(self, name: str, index: int = 0, *, beside: str = "") -> dict[str, Any] | None:
        """The pod of an index whose main container runs and that nobody has asked to go, other than the one named."""
        for pod in self.jobs.pods(name, "work"):
            meta = pod["metadata"]
            runs = any("running" in status["state"] for status in pod["status"].get("containerStatuses", ()))
            wanted = int(meta["annotations"][INDEX]) == index and meta["name"] != beside
            if wanted and runs and "deletionTimestamp" not in meta:
                return pod
        return None

    def await_worker(self, name: str, index: int = 0, *, beside: str = "") -> dict[str, Any]:
        return wait_for(lambda: self.worker(name, index, beside=beside), START_SECONDS, f"worker {index} of {name}")

    def await_middle(self, output: str) -> dict[str, str]:
        """Wait until what the gate lets through is committed and more is asked for; the committed."""
        corpus, gate = self.corpus, self.gate
        wait_for(
            lambda: len(corpus.committed(output)) >= gate.lets and gate.held, START_SECONDS, "workers in the middle"
        )
        assert len(corpus.committed(output)) < len(corpus.names)
        return corpus.committed(output)

    def job_id(self, name: str) -> str:
        return f"{name}-{self.jobs.get(name)['metadata']['uid'][:8]}"

    def finish(self, name: str, output: str) -> list[dict[str, Any]]:
        """Wait for Complete; every recording has one outcome, and its transcript as in a run that nothing disturbs."""
        self.jobs.await_condition(name, "Complete", END_SECONDS)
        outcomes = self.corpus.lines(output, self.job_id(name), "report/manifest.jsonl")
        assert sorted(outcome["key"] for outcome in outcomes) == sorted(self.corpus.names)
        assert {outcome["state"] for outcome in outcomes} <= {"done", "skipped"}
        assert self.corpus.transcripts(output) == undisturbed(self.corpus)
        return outcomes


@dataclass(frozen=True)
class Scene(Stage):
    """With an operator that is a process of this machine."""

    operator: Operator

    def complaints(self) -> list[str]:
        """Lines of the operator's log that should not be there."""
        return [line for line in self.operator.lines if "Traceback" in line or "ERROR" in line]


@contextmanager
def stage(cluster: Cluster, namespace: str, s3: S3Server, *, lets: int) -> Iterator[Stage]:
    """Recordings beyond the first `lets` are held back until the gate opens. The operator is the caller's."""
    install_crd(cluster)
    corpus = corpus_on(s3)
    undisturbed(corpus)
    with gate_before(s3, lets) as gate:
        jobs = Jobs(cluster, namespace, gate.server)
        jobs.secret()
        yield Stage(corpus, gate, jobs)


@contextmanager
def scene(cluster: Cluster, namespace: str, s3: S3Server, folder: Path, *, lets: int) -> Iterator[Scene]:
    """A stage with an operator that watches its namespace."""
    with stage(cluster, namespace, s3, lets=lets) as bare, running(operator(cluster, folder, namespace)) as one:
        yield Scene(bare.corpus, bare.gate, bare.jobs, one)


def shared_scratch(cluster: Cluster, namespace: str, folder: Path) -> str:
    """A claim on a directory of the node, as `restricted` allows it; its name."""
    folder.mkdir()
    os.chown(folder, RUN_AS, RUN_AS)
    storage = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    volume = f"{namespace}-nvme"
    manifest = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": volume, "labels": {"transcription-operator.io/test-namespace": namespace}},
        "spec": {
            **storage,
            "capacity": {"storage": "10Gi"},
            "hostPath": {"path": str(folder), "type": "Directory"},
            "claimRef": {"namespace": namespace, "name": "nvme"},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "nvme"},
        "spec": {**storage, "volumeName": volume, "resources": {"requests": {"storage": "10Gi"}}},
    }
    cluster.apply(manifest)
    cluster.apply(claim, namespace=namespace)
    return "nvme"
