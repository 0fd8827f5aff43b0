"""The operator as a process of this machine, and TranscriptionJobs for it. Free of pytest.

Outside a cluster the operator is the same program with a kubeconfig; a test can kill it, freeze it and read its log.
The one test file that needs it as a pod installs the chart.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from tests.e2e.cluster import Cluster, wait_for, worker_environment_volumes
from tests.jobs import REPOSITORY
from tests.s3server import S3Server, free_port
from transcription_api.names import CRD_NAME

CRD = REPOSITORY / "crds" / "transcriptionjobs.transcription-operator.io.yaml"
OPERATOR = (sys.executable, "-m", "transcription_operator.cli")


@dataclass
class Operator:
    """A running operator that watches some namespaces."""

    command: tuple[str, ...]
    environment: dict[str, str]
    log: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, env=self.environment, stdout=log, stderr=log)

    def await_ready(self) -> None:
        def ready() -> str:
            assert self.process is not None and self.process.poll() is None, self.log.read_text()
            return self.get("/readyz")

        wait_for(ready, 60, "the operator to be ready")

    def get(self, path: str) -> str:
        """The body of an answer with status 200, else nothing."""
        with suppress(URLError, OSError), urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return str(answer.read().decode())
        return ""

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise

    @property
    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()


def install_crd(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--server-side", "--force-conflicts", f"--filename={CRD}")

    def established() -> bool:  # `kubectl wait` fails as long as there is no condition at all
        found = cluster.get("customresourcedefinition", CRD_NAME) or {}
        conditions = (found.get("status") or {}).get("conditions") or []
        return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)

    wait_for(established, 30, "the CRD to be served")


def operator(
    cluster: Cluster, folder: Path, *namespaces: str, command: tuple[str, ...] = OPERATOR, **variables: str
) -> Operator:
    """An operator that is not started yet; `variables` add to or replace those of its environment."""
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("TRANSCRIPTION_", "AWS_"))},
        "KUBECONFIG": str(cluster.kubeconfig),
        "TRANSCRIPTION_WORKER_IMAGE": cluster.worker_image or "registry.local/none:1",
        "TRANSCRIPTION_IMAGE_PULL_POLICY": "IfNotPresent",
        "TRANSCRIPTION_WATCH_NAMESPACES": ",".join(namespaces),
        "TRANSCRIPTION_RESYNC_SECONDS": "2",
        "TRANSCRIPTION_GRACE_SECONDS": "60",
        "TRANSCRIPTION_HTTP_PORT": str(port),
        **variables,
    }
    return Operator(command, environment, folder / "operator.log", port)


@contextmanager
def running(one: Operator) -> Iterator[Operator]:
    """Started, ready, and stopped at the end."""
    one.start()
    try:
        one.await_ready()
        yield one
    finally:
        one.stop()


@dataclass(frozen=True)
class Jobs:
    """TranscriptionJobs of one namespace, against one S3 server."""

    cluster: Cluster
    namespace: str
    server: S3Server

    def secret(self, name: str = "s3", *, secret_key: str | None = None) -> None:
        """The Secret that `manifest` names."""
        values = {"AWS_ACCESS_KEY_ID": self.server.access_key, "AWS_SECRET_ACCESS_KEY": self.server.secret_key}
        if secret_key is not None:
            values["AWS_SECRET_ACCESS_KEY"] = secret_key
        manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}
        self.cluster.apply(manifest, namespace=self.namespace)

    def manifest(self, name: str, *, source: str, output: str, model: str, **spec: Any) -> dict[str, Any]:
        """A job on the CPU with the checkout's environment mounted; `spec` adds to or replaces fields of the spec."""
        volumes = worker_environment_volumes(self.cluster, self.namespace)
        workers = {
            "replicas": 1,
            "gpus": 0,
            "scratch": {"sizeLimit": "1Gi", "minFree": "10Mi"},
            "template": {
                "spec": {
                    "volumes": list(volumes.volumes),
                    "volumeMounts": list(volumes.volume_mounts),
                    "env": list(volumes.env),
                }
            },
            **spec.pop("workers", {}),
        }
        return {
            "apiVersion": "transcription-operator.io/v1alpha1",
            "kind": "TranscriptionJob",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "input": {"uri": source},
                "output": {"uri": output},
                "storage": {
                    "endpointUrl": self.server.endpoint,
                    "region": self.server.region,
                    "credentialsSecret": {"name": "s3"},
                },
                "model": {"uri": model},
                "workers": workers,
                **spec,
            },
        }

    def apply(self, manifest: dict[str, Any]) -> None:
        self.cluster.apply(manifest, namespace=self.namespace)

    def get(self, name: str) -> dict[str, Any]:
        found = self.cluster.get("transcriptionjob", name, self.namespace)
        assert found is not None, f"there is no TranscriptionJob {name}"
        return found

    def status(self, name: str) -> dict[str, Any]:
        return dict(self.get(name).get("status") or {})

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        """The condition, empty where it is not set."""
        return next((one for one in self.status(name).get("conditions", []) if one["type"] == kind), {})

    def await_condition(self, name: str, kind: str, timeout: float = 180) -> dict[str, Any]:
        """Wait until the condition is true; the whole status."""

        def holds() -> dict[str, Any] | None:
            if self.condition(name, kind).get("status") == "True":
                return self.status(name)
            other = "Complete" if kind == "Failed" else "Failed"
            ended = self.condition(name, other)
            if kind in ("Complete", "Failed") and ended.get("status") == "True":
                raise AssertionError(f"{name} is {other}, not {kind}: {ended['reason']}: {ended['message']}")
            return None

        return wait_for(holds, timeout, f"{kind} of job {name}")

    def await_phase(self, name: str, phase: str, timeout: float = 120) -> None:
        wait_for(lambda: self.status(name).get("phase") == phase, timeout, f"phase {phase} of job {name}")

    def pods(self, name: str, component: str) -> list[dict[str, Any]]:
        selector = f"transcription-operator.io/job={name},transcription-operator.io/component={component}"
        done = self.cluster.kubectl("get", "pods", f"--selector={selector}", f"--namespace={self.namespace}", "-ojson")
        return list(json.loads(done.stdout)["items"])

    def patch(self, name: str, spec: dict[str, Any]) -> None:
        text = json.dumps({"spec": spec})
        place = f"--namespace={self.namespace}"
        self.cluster.kubectl("patch", "transcriptionjob", name, place, "--type=merge", f"--patch={text}")

    def events(self, name: str) -> list[tuple[str, str]]:
        """Reason and message, oldest first."""
        fields = f"--field-selector=involvedObject.kind=TranscriptionJob,involvedObject.name={name}"
        done = self.cluster.kubectl("get", "events", fields, f"--namespace={self.namespace}", "-ojson")
        items = sorted(json.loads(done.stdout)["items"], key=lambda event: int(event["metadata"]["resourceVersion"]))
        return [(event["reason"], event["message"]) for event in items]

    def children(self) -> list[str]:
        """Names of the batch Jobs and pods in the namespace."""
        done = self.cluster.kubectl("get", "jobs,pods", "--output=name", f"--namespace={self.namespace}")
        return done.stdout.split()


def upload(server: S3Server, bucket: str, folder: Path, prefix: str) -> list[str]:
    """Every file below `folder`, as keys below `prefix`; those keys."""
    keys = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        keys.append(f"{prefix}{path.relative_to(folder).as_posix()}")
        server.client().put_object(Bucket=bucket, Key=keys[-1], Body=path.read_bytes())
    return keys


def keys_below(server: S3Server, bucket: str, prefix: str) -> set[str]:
    pages = server.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {item["Key"] for page in pages for item in page.get("Contents", ())}
