"""What end-to-end tests need of a cluster: kubectl, waiting, images and the worker's environment. Free of pytest.

Any cluster serves. What the test cluster of `tests/cluster` brings along and another has not is told by variables:

* E2E_BUSYBOX_IMAGE, E2E_WORKER_IMAGE, E2E_OPERATOR_IMAGE: images that its nodes can pull or have.
* E2E_POLICIES_HOLD=1: its network plugin enforces NetworkPolicy.
* E2E_MACHINE_ADDRESS: an address of this machine that its pods reach; by default the one from which this machine
  reaches the API server.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tests.cluster.build import build
from tests.cluster.environment import EnvironmentVolumes, claim_manifests, environment_volumes
from tests.cluster.images import BUSYBOX, HOSTBIND
from tests.cluster.layout import API_PORT, BIN, CGROUP, NODE_ADDRESS

T = TypeVar("T")
RESTRICTED: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""A container's security context that the level `restricted` of Pod Security takes, and as the product's."""
_POLL_SECONDS = 0.1
_CGROUPS = Path("/sys/fs/cgroup")


class KubectlError(Exception):
    """kubectl exited with an error; the message is what it wrote."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster to test on.

    Attributes:
        own: it is the test cluster of this checkout: its node is this machine, its pods' processes can be seen here.
    """

    kubeconfig: Path
    program: str
    own: bool
    machine_address: str
    busybox_image: str
    worker_image: str
    operator_image: str

    def kubectl(
        self, *arguments: str, input: str | None = None, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl with this cluster's kubeconfig; `input` goes to its standard input.

        Raises:
            KubectlError: it failed and `check` is set.
            subprocess.TimeoutExpired: it took more than `timeout` seconds.
        """
        command = [self.program, f"--kubeconfig={self.kubeconfig}", *arguments]
        done = subprocess.run(command, input=input, capture_output=True, text=True, timeout=timeout)
        if check and done.returncode != 0:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done

    def apply(self, *manifests: dict[str, Any], namespace: str | None = None) -> None:
        """Apply the manifests, in the order given, as one list."""
        place = [f"--namespace={namespace}"] if namespace else []
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        self.kubectl("apply", *place, "--filename=-", input=text)

    def get(self, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        """The object, None where there is none."""
        place = [f"--namespace={namespace}"] if namespace else []
        done = self.kubectl("get", kind, name, *place, "--output=json", "--ignore-not-found")
        return dict(json.loads(done.stdout)) if done.stdout else None

    def container_processes(self, namespace: str, pod: str, container: str) -> list[int]:
        """Process ids on this machine of a container that runs in the test cluster, its first process first.

        For tests that kill what no `kubectl exec` can: a container's first process takes no SIGKILL from inside.
        """
        assert self.own, "the processes of another cluster's pods cannot be seen from here"
        state = self.get("pod", pod, namespace)
        assert state is not None, f"there is no pod {pod}"
        statuses = state["status"].get("initContainerStatuses", []) + state["status"].get("containerStatuses", [])
        container_id = next(one["containerID"] for one in statuses if one["name"] == container).rpartition("/")[2]
        groups = next(_CGROUPS.glob(f"**/{CGROUP}/**/{container_id}"))
        pids = [int(pid) for file in groups.rglob("cgroup.procs") for pid in file.read_text().split()]
        return sorted(pids, key=_id_inside)


def connect(kubeconfig: Path) -> Cluster:
    """The cluster of a kubeconfig's current context; kubectl is built when there is none.

    Raises:
        KubectlError: the API server does not answer.
    """
    program = shutil.which("kubectl", path=f"{BIN}:{os.environ.get('PATH', '')}")
    if program is None:
        build("kubectl")
        program = str(BIN / "kubectl")
    server = subprocess.run(
        [program, f"--kubeconfig={kubeconfig}", "config", "view", "--minify", "--output=jsonpath={..server}"],
        capture_output=True,
        text=True,
    ).stdout
    own = server == f"https://{NODE_ADDRESS}:{API_PORT}"
    cluster = Cluster(
        kubeconfig,
        program,
        own,
        os.environ.get("E2E_MACHINE_ADDRESS") or _address_towards(server),
        os.environ.get("E2E_BUSYBOX_IMAGE") or (BUSYBOX if own else "busybox:1.37"),
        os.environ.get("E2E_WORKER_IMAGE") or (HOSTBIND if own else ""),
        os.environ.get("E2E_OPERATOR_IMAGE") or (HOSTBIND if own else ""),
    )
    cluster.kubectl("version", "--request-timeout=10s")
    return cluster


def worker_environment_volumes(cluster: Cluster, namespace: str) -> EnvironmentVolumes:
    """What a pod of `namespace` needs besides its image to run `transcription-worker` and `transcription-operator`.

    In the test cluster the checkout's environment is mounted, and its claims are made by this call; the fixture
    `namespace` removes the volumes. Elsewhere the images bring everything along and the entries are empty.
    """
    if cluster.worker_image != HOSTBIND:
        return EnvironmentVolumes()
    cluster.apply(*claim_manifests(namespace))
    environment = environment_volumes()
    claims = [f"persistentvolumeclaim/{volume['name']}" for volume in environment.volumes]
    bound = ["--for=jsonpath={.status.phase}=Bound", "--timeout=60s"]
    cluster.kubectl("wait", *bound, f"--namespace={namespace}", *claims)
    return environment


def wait_for(predicate: Callable[[], T | None], timeout: float, what: str) -> T:
    """Poll until `predicate` returns something true, and return that.

    Raises:
        TimeoutError: it did not within `timeout` seconds; names `what` and the last answer.
    """
    deadline = time.monotonic() + timeout
    while not (answer := predicate()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:.0f} s for {what}; the last answer was {answer!r}")
        time.sleep(_POLL_SECONDS)
    return answer


def _address_towards(server: str) -> str:
    """This machine's address on the way to `server`. Nothing is sent: connecting a datagram socket picks a route."""
    parts = urlsplit(server)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((parts.hostname or "", parts.port or 443))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def _id_inside(pid: int) -> int:
    """A process's id in its own container."""
    found = re.search(r"^NSpid:.*\s(\d+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) if found else pid
