"""The chart's NetworkPolicies where a plugin enforces them: who reaches workers and operator, and that jobs go on."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.e2e.cluster import RESTRICTED, Cluster, wait_for
from tests.e2e.fast_worker import fast_namespace
from tests.e2e.operating import install_crd
from tests.e2e.release import DEPLOYMENT, RELEASE, Release
from tests.e2e.scene import Stage, stage
from tests.s3server import S3Server

pytestmark = [pytest.mark.cluster, pytest.mark.s3, pytest.mark.model, pytest.mark.slow]

PORT = 8080
TRIES_SECONDS = 3
ANSWERS_SECONDS = 30
"""For a refused try, with kubectl's way into the pod on a busy machine."""
SYNC_SECONDS = 60
"""For the plugin to follow a change of policy."""
TRY = f"""\
timeout {TRIES_SECONDS} wget -q -O /dev/null http://%s:{PORT}/readyz
case $? in 0) echo reached ;; 1|143) echo refused ;; *) echo "wget ended with $?" ;; esac
"""
TRY_IN_PYTHON = f"""\
import urllib.request
try:
    urllib.request.urlopen("http://%s:{PORT}/readyz", timeout={TRIES_SECONDS})
    print("reached")
except OSError:
    print("refused")
"""
ASK_BY_UDP = """\
import socket
asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asked.settimeout(5)
asked.sendto(b"name?", (%r, %d))
print(asked.recv(100).decode())
"""


@dataclass(frozen=True)
class Caller:
    """A pod that tries to reach others."""

    cluster: Cluster
    namespace: str
    pod: str
    python: bool = False

    def reaches(self, address: str) -> bool:
        """Whether a new connection to the HTTP port there is answered; a refusal must come within a bounded time."""
        command = ("python3", "-c", TRY_IN_PYTHON % address) if self.python else ("sh", "-c", TRY % address)
        began = time.monotonic()
        said = self.cluster.kubectl("exec", self.pod, f"--namespace={self.namespace}", "--", *command).stdout.strip()
        assert said in ("reached", "refused"), said
        assert time.monotonic() - began < ANSWERS_SECONDS
        return said == "reached"


@dataclass(frozen=True)
class Scene:
    """The operator in one namespace, its jobs in another, and pods of others in both.

    Attributes:
        neighbour: beside the workers, with no label of note.
        impostor: beside the workers, with the labels of the operator's pod.
        colleague: beside the operator; `networkPolicy.scrapers` may name it.
    """

    release: Release
    stage: Stage
    operator: Caller
    neighbour: Caller
    impostor: Caller
    colleague: Caller

    def install(self, *settings: str, values: Path | None = None) -> None:
        self.release.install(f"watch.namespaces[0]={self.stage.jobs.namespace}", *settings, values=values)

    def reach(self, address: str) -> set[str]:
        """Who of them reaches this address."""
        callers = ("operator", "neighbour", "impostor", "colleague")
        return {name for name in callers if getattr(self, name).reaches(address)}

    def await_reach(self, address: str, expected: set[str]) -> None:
        """The plugin has a moment to follow; then it must stay so."""
        with suppress(TimeoutError):
            wait_for(lambda: self.reach(address) == expected, SYNC_SECONDS, "the plugin")
        assert self.reach(address) == expected


def sleeper(name: str, image: str, labels: dict[str, str]) -> dict[str, Any]:
    container = {"name": "main", "image": image, "command": ["sleep", "3600"], "securityContext": RESTRICTED}
    spec = {"terminationGracePeriodSeconds": 1, "automountServiceAccountToken": False, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


@pytest.fixture
def scene(
    cluster: Cluster, namespace: str, namespaces: list[str], operator_image: str, s3: S3Server, policies: None
) -> Iterator[Scene]:
    release = Release(cluster, namespace, operator_image)
    with fast_namespace(cluster, namespaces) as other, stage(cluster, other.namespace, s3, lets=5) as here:
        beside_workers, beside_operator = here.jobs.namespace, namespace
        disguise = {
            "app.kubernetes.io/name": "transcription-operator",
            "app.kubernetes.io/instance": RELEASE,
            "app.kubernetes.io/component": "operator",
        }
        image = cluster.busybox_image
        cluster.apply(sleeper("neighbour", image, {}), sleeper("impostor", image, disguise), namespace=beside_workers)
        cluster.apply(sleeper("colleague", image, {"app": "scraper"}), namespace=beside_operator)
        for place, pods in ((beside_workers, ("neighbour", "impostor")), (beside_operator, ("colleague",))):
            named = [f"pod/{pod}" for pod in pods]
            cluster.kubectl("wait", "--for=condition=Ready", "--timeout=60s", f"--namespace={place}", *named)
        callers = (
            Caller(cluster, beside_operator, DEPLOYMENT, python=True),
            Caller(cluster, beside_workers, "neighbour"),
            Caller(cluster, beside_workers, "impostor"),
            Caller(cluster, beside_operator, "colleague"),
        )
        try:
            yield Scene(release, here, *callers)
        finally:
            release.uninstall()
            install_crd(cluster)


@contextmanager
def answering_by_udp(address: str) -> Iterator[int]:
    """A port of this machine that answers one datagram, as a name server does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, 0))
        server.settimeout(60)

        def answer() -> None:
            _, sender = server.recvfrom(100)
            server.sendto(b"answered", sender)

        thread = Thread(target=answer, daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        thread.join(60)


def test_only_the_operator_and_named_scrapers_reach_workers_and_jobs_go_on(
    cluster: Cluster, scene: Scene, tmp_path: Path
) -> None:
    everybody = {"operator", "neighbour", "impostor", "colleague"}
    output = f"guarded-{scene.stage.jobs.namespace}"
    here = scene.stage
    scene.install("networkPolicy.enabled=true")
    here.apply("calls", output)
    worker = here.await_worker("calls")
    before = here.await_middle(output)
    address = worker["status"]["podIP"]
    own = address_of_operator(scene)

    scene.await_reach(address, {"operator"})
    scene.await_reach(own, everybody)  # docs/values.md: without scrapers everybody may
    wait_for(lambda: here.jobs.status("calls").get("progress", {}).get("speed"), 60, "the operator to hear the worker")
    pod, place = worker["metadata"]["name"], f"--namespace={here.jobs.namespace}"
    with answering_by_udp(cluster.machine_address) as port:
        asking = ASK_BY_UDP % (cluster.machine_address, port)
        assert cluster.kubectl("exec", pod, place, "--", "python3", "-c", asking).stdout.strip() == "answered"

    values = tmp_path / "scrapers.json"
    peer = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": scene.release.namespace}},
        "podSelector": {"matchLabels": {"app": "scraper"}},
    }
    values.write_text(json.dumps({"networkPolicy": {"scrapers": [peer]}}))
    scene.install("networkPolicy.enabled=true", values=values)
    scene.await_reach(address, {"operator", "colleague"})
    scene.await_reach(own, {"operator", "colleague"})

    scene.install()  # the control: it was the policy, and nothing else, that refused
    scene.await_reach(address, everybody)
    scene.await_reach(own, everybody)

    scene.install("networkPolicy.enabled=true")
    scene.await_reach(address, {"operator"})
    here.gate.open()
    outcomes = here.finish("calls", output)
    assert {outcome["state"] for outcome in outcomes} == {"done"}
    after = here.corpus.committed(output)
    assert {recording: after[recording] for recording in before} == before


def address_of_operator(scene: Scene) -> str:
    selector = "--selector=app.kubernetes.io/component=operator"
    place = f"--namespace={scene.release.namespace}"
    found = json.loads(scene.release.cluster.kubectl("get", "pods", selector, place, "--output=json").stdout)
    (pod,) = [one for one in found["items"] if "deletionTimestamp" not in one["metadata"]]
    return str(pod["status"]["podIP"])
