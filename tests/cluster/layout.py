"""Where the test cluster's files and addresses are. No behaviour lives here.

Two places hold state: `.tools/cluster` in the checkout (certificates, images, logs, the node's disk) and, because that
folder may be deleted while the cluster runs, one small record in /run that names the process to stop (`record.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
BIN = REPOSITORY / ".tools" / "bin"

NODE_NAME = "node-1"
GPUS = 2

MACHINE_ADDRESS = "10.89.0.1"
"""This machine, as pods see it."""
NODE_ADDRESS = "10.89.0.2"
API_PORT = 6443
MACHINE_LINK, NODE_LINK = "tj-machine", "tj-node"
LINK_NETWORK = "10.89.0.0/24"
POD_NETWORK = "10.88.0.0/16"
SERVICE_NETWORK = "10.90.0.0/24"
API_SERVICE_ADDRESS = "10.90.0.1"

CGROUP = "transcription-test-cluster"
RECORD = Path("/run/transcription-test-cluster.json")
LOCK = Path("/run/transcription-test-cluster.lock")
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
"""Inside the node's own mount namespace, where /run is a file system of its own."""

MOUNT_POINTS = ("/var/lib/kubelet", "/var/lib/containerd", "/var/lib/cni", "/var/log/pods", "/var/log/containers")
"""Paths that are fixed in the components; the node binds folders of its own disk over them."""

COMPONENTS = (
    "containerd",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
)


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of one cluster below `root`."""

    root: Path = REPOSITORY / ".tools" / "cluster"

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, for processes on this machine."""
        return self.pki / "admin.kubeconfig"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def config(self) -> Path:
        return self.root / "config"

    @property
    def logs(self) -> Path:
        """One file for each component, and `node.log` for what started them."""
        return self.root / "logs"

    @property
    def disk(self) -> Path:
        """What the node sees as /var/lib/kubelet, /var/lib/containerd and so on."""
        return self.root / "disk"
