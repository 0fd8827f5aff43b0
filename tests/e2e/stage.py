"""One namespace with operators whose writes are recorded, and the history of all that happens in it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.cluster import Cluster
from tests.e2e.fast_worker import FastJobs, fast_namespace, without_times
from tests.e2e.operating import Operator, operator, running
from tests.e2e.watching import History, watching

NAME = "calls"
KINDS = ("jobs", "pods", "transcriptionjobs")


@dataclass
class Stage:
    """One namespace with one job to come, its operators, and all that happens in it."""

    jobs: FastJobs
    writes: Path
    operators: list[Operator]
    history: dict[str, History]

    @property
    def written(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.writes.read_text().splitlines()]

    def status(self) -> dict[str, Any]:
        job = self.jobs.get(NAME)
        return without_times(job["status"], job["metadata"]["uid"])

    def assert_nothing_doubled(self, *jobs: str) -> None:
        """Of each job one plan, one work and one report Job, with one pod each."""
        jobs = jobs or (NAME,)
        names = {f"{job}-{step}" for job in jobs for step in ("plan", "work", "report")}
        assert {name: len(uids) for name, uids in self.history["jobs"].uids.items()} == dict.fromkeys(names, 1)
        pods = [name.rpartition("-")[0] for name in self.history["pods"].uids]
        assert sorted(pods) == sorted(f"{job}-{pod}" for job in jobs for pod in ("plan", "report", "work-0"))

    def assert_nothing_of_kopf(self) -> None:
        for kind in KINDS:
            assert "kopf" not in self.history[kind].text.lower()
        for job in self.history["transcriptionjobs"].of(NAME):
            assert not job["metadata"].get("finalizers")
            assert set(job["metadata"].get("annotations", {})) <= {"kubectl.kubernetes.io/last-applied-configuration"}

    def assert_no_traceback(self) -> None:
        for one in self.operators:
            assert "Traceback" not in one.log.read_text()


@contextmanager
def stage(
    cluster: Cluster, deleted: list[str], folder: Path, *arguments: str, operators: int = 1, **variables: str
) -> Iterator[Stage]:
    """Operators with a tap on their writes, and all that happens in their namespace; `variables` are of their
    environment."""
    folder.mkdir()
    writes = folder / "writes"
    writes.touch()
    command = (sys.executable, "-m", "tests.e2e.tapped_operator", str(writes), *arguments)
    with ExitStack() as stack:
        jobs = stack.enter_context(fast_namespace(cluster, deleted))
        history = {kind: stack.enter_context(watching(cluster, kind, jobs.namespace)) for kind in KINDS}
        started = []
        for number in range(operators):
            (folder / str(number)).mkdir()
            started.append(operator(cluster, folder / str(number), jobs.namespace, command=command, **variables))
            stack.enter_context(running(started[-1]))
        yield Stage(jobs, writes, started, history)


def subject(write: dict[str, Any]) -> str:
    """What a write is about."""
    plural = write["path"].rpartition("/namespaces/")[2].split("/", 1)[1]
    if plural != "jobs":
        return f"{write['verb']} {plural}"
    return f"create {write['body']['metadata']['name']}"
