"""A worker that only ends: a shell script in a ConfigMap, for tests of the operator that need no audio.

It prints what docs/running.md documents and says it as its termination message. What a step does before that is a
piece of shell in the job's template: `FAST_PLAN`, `FAST_WORK` and `FAST_REPORT` may call

* `hold`: wait for `FastJobs.let_go`;
* `serve`: answer /readyz, /progress and /progress/job;
* `fail CODE SENTENCE`: end with this code and these last words;

or set `said`, the JSON that the step leaves. Real workers are tested elsewhere; this one runs under `restricted` too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.operating import Jobs, Operator, install_crd, operator, running
from tests.s3server import S3Server
from transcription_api.names import LABEL_COMPONENT, LABEL_JOB

SCRIPT = (Path(__file__).parent / "fast_worker.sh").read_text()
FOLDER = "/fast"
CONFIG_MAP = "fast-worker"
PLAN_SAID = '{"recordings": 10, "ignored": 2, "total_bytes": 1234, "shards": 4, "conditional_writes": true}'
REPORT_SAID = (
    '{"planned": 10, "missing": 0, "done": 8, "skipped": 2, "failed": 0, "audio_seconds": 99.5, "speed": 12, '
    '"report": "s3://calls/out/report/index.html"}'
)
"""What the two steps leave unless a job says otherwise."""
NOWHERE = S3Server("http://store.invalid:9000")
"""No process of these tests asks a store."""


class FastJobs(Jobs):
    """TranscriptionJobs of one namespace whose pods run the script."""

    def install(self) -> None:
        """The ConfigMap that the pods mount."""
        data = {"transcription-worker": SCRIPT, "answer": SCRIPT, "plan.json": PLAN_SAID, "report.json": REPORT_SAID}
        self.cluster.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CONFIG_MAP}, "data": data},
            namespace=self.namespace,
        )

    def fast(
        self,
        name: str,
        *,
        plan: str = "",
        work: str = "",
        report: str = "",
        labels: dict[str, str] | None = None,
        template: dict[str, Any] | None = None,
        workers: dict[str, Any] | None = None,
        **spec: Any,
    ) -> dict[str, Any]:
        """A manifest.

        Args:
            plan, work, report: what that step does before it says its summary.
            template: fields that replace those of `workers.template.spec`.
            workers, spec: fields that replace those of `workers` and of the spec.
        """
        steps = {"FAST_PLAN": plan, "FAST_WORK": work, "FAST_REPORT": report}
        return {
            "apiVersion": "transcription-operator.io/v1alpha1",
            "kind": "TranscriptionJob",
            "metadata": {"name": name, "namespace": self.namespace, "labels": labels or {}},
            "spec": {
                "input": {"uri": "s3://calls/in/"},
                "output": {"uri": "s3://calls/out/"},
                "model": {"name": "nvidia/parakeet-tdt-0.6b-v3"},
                "workers": {
                    "gpus": 0,
                    "image": self.cluster.busybox_image,
                    "template": {
                        "spec": {
                            "env": [
                                {"name": "PATH", "value": f"{FOLDER}:/bin"},
                                *({"name": key, "value": value} for key, value in steps.items() if value),
                            ],
                            "volumes": [{"name": "fast", "configMap": {"name": CONFIG_MAP, "defaultMode": 0o555}}],
                            "volumeMounts": [{"name": "fast", "mountPath": FOLDER}],
                            **(template or {}),
                        }
                    },
                    **(workers or {}),
                },
                **spec,
            },
        }

    def start(self, name: str, **fields: Any) -> None:
        """`fast`, applied."""
        self.apply(self.fast(name, **fields))

    def apply_all(self, manifests: Iterable[dict[str, Any]]) -> None:
        self.cluster.apply(*manifests, namespace=self.namespace)

    def let_go(self, name: str, component: str) -> None:
        """End the `hold` of every pod of this step that runs."""

        def running() -> list[str]:
            pods = [pod for pod in self.pods(name, component) if "deletionTimestamp" not in pod["metadata"]]
            return [pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") == "Running"]

        for pod in wait_for(running, 60, f"a running {component} pod of {name}"):
            self.cluster.kubectl("exec", pod, f"--namespace={self.namespace}", "--", "touch", "/scratch/go")

    def await_pod(self, name: str, component: str, phase: str = "Running") -> dict[str, Any]:
        """The first pod of this step, once it is in this phase."""

        def there() -> dict[str, Any] | None:
            pods = self.pods(name, component)
            return next((pod for pod in pods if pod["status"].get("phase") == phase), None)

        return wait_for(there, 60, f"a {component} pod of {name} in phase {phase}")

    def child(self, name: str, component: str) -> dict[str, Any] | None:
        """The batch Job of this step."""
        return self.cluster.get("job", f"{name}-{component}", self.namespace)

    def delete(self, *names: str, cascade: str = "background") -> None:
        """Ask for it, and wait for nothing."""
        place = (f"--namespace={self.namespace}", f"--cascade={cascade}", "--wait=false")
        self.cluster.kubectl("delete", "transcriptionjob", *names, *place)

    def left_of(self, name: str) -> list[str]:
        """The job and what belongs to it, as far as it exists."""
        selector = f"--selector={LABEL_JOB}={name},{LABEL_COMPONENT}"
        place = f"--namespace={self.namespace}"
        children = self.cluster.kubectl("get", "jobs,pods", selector, "--output=name", place).stdout.split()
        return children + ([name] if self.cluster.get("transcriptionjob", name, self.namespace) else [])


@contextmanager
def fast_namespace(cluster: Cluster, deleted: list[str], level: str = "restricted") -> Iterator[FastJobs]:
    """A fresh namespace with the script in it; deleted at the end, and its name appended to `deleted`."""
    name = f"test-{uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": level}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    try:
        jobs = FastJobs(cluster, name, NOWHERE)
        jobs.install()
        yield jobs
    finally:
        # Jobs first: in a namespace that is going they would wait for successors of their pods for ever (operator.md).
        cluster.kubectl("delete", "transcriptionjobs,jobs", "--all", "--wait=false", f"--namespace={name}")
        cluster.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")
        deleted.append(name)


@contextmanager
def operated(
    cluster: Cluster, deleted: list[str], folder: Path, *arguments: str, **variables: str
) -> Iterator[tuple[FastJobs, Operator, Path]]:
    """A fresh namespace, an operator of its own with a tap on its writes, and the file with these.

    At the end the operator must have shown no traceback, whatever its jobs were.
    """
    writes = folder / "writes"
    writes.touch()
    command = (sys.executable, "-m", "tests.e2e.tapped_operator", str(writes), *arguments)
    install_crd(cluster)
    without_other_operators(cluster)
    with fast_namespace(cluster, deleted) as jobs:
        with running(operator(cluster, folder, jobs.namespace, command=command, **variables)) as one:
            yield jobs, one, writes
        assert "Traceback" not in one.log.read_text(), one.log.read_text()


def without_other_operators(cluster: Cluster) -> None:
    """Wait until no operator runs as a pod: those of tests of the chart watch all namespaces, and would help along."""
    everywhere = ("--all-namespaces", "--selector=app.kubernetes.io/component=operator", "--output=name")
    wait_for(lambda: not cluster.kubectl("get", "pods", *everywhere).stdout, 600, "other operators to go")


def without_times(status: dict[str, Any], uid: str) -> dict[str, Any]:
    """A status as every run of the same job has it."""
    text = json.dumps(status).replace(uid[:8], "uid")
    return dict(_untimed(json.loads(text)))


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _untimed(inner) for key, inner in value.items() if not key.lower().endswith("time")}
    return [_untimed(inner) for inner in value] if isinstance(value, list) else value
