"""The command line and configuration of every component. Pure but for `write_config`, which writes the files.

What is not said here is the component's default, so that the cluster behaves as others do.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.cluster import images
from tests.cluster.layout import (
    API_PORT,
    BIN,
    CGROUP,
    CONTAINERD_SOCKET,
    NODE_ADDRESS,
    NODE_NAME,
    POD_NETWORK,
    SERVICE_NETWORK,
    Layout,
)

_ETCD = "http://127.0.0.1:2379"
_ETCD_PEER = "http://127.0.0.1:2380"

_CONTAINERD = """\
version = 2
disabled_plugins = [{disabled}]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_apparmor = true
  restrict_oom_score_adj = true  # a machine without CAP_SYS_RESOURCE starts no container otherwise
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{cni}"
"""
_UNUSED_PLUGINS = (
    "io.containerd.internal.v1.opt",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.tracing.processor.v1.otlp",
)


def containerd(layout: Layout) -> list[str]:
    return ["/usr/bin/containerd", "--config", str(layout.config / "containerd.toml")]


def etcd(layout: Layout) -> list[str]:
    """It need not survive a power cut: nothing is synced to disk."""
    clients = [f"--listen-client-urls={_ETCD}", f"--advertise-client-urls={_ETCD}"]
    peers = [f"--listen-peer-urls={_ETCD_PEER}", f"--initial-advertise-peer-urls={_ETCD_PEER}"]
    cluster = [f"--initial-cluster=default={_ETCD_PEER}", f"--data-dir={layout.disk / 'etcd'}"]
    return [str(BIN / "etcd"), *clients, *peers, *cluster, "--log-level=warn", "--unsafe-no-fsync"]


def api_server(layout: Layout) -> list[str]:
    pki = layout.pki
    return [
        str(BIN / "kube-apiserver"),
        f"--etcd-servers={_ETCD}",
        f"--advertise-address={NODE_ADDRESS}",
        f"--secure-port={API_PORT}",
        f"--service-cluster-ip-range={SERVICE_NETWORK}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",  # adds to the default ones
        "--allow-privileged=true",
        f"--service-account-key-file={pki / 'sa.pub'}",
        f"--service-account-signing-key-file={pki / 'sa.key'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--kubelet-client-certificate={pki / 'apiserver-kubelet-client.crt'}",
        f"--kubelet-client-key={pki / 'apiserver-kubelet-client.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--requestheader-client-ca-file={pki / 'ca.crt'}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki / 'front-proxy-client.crt'}",
        f"--proxy-client-key-file={pki / 'front-proxy-client.key'}",
    ]


def controller_manager(layout: Layout) -> list[str]:
    pki = layout.pki
    return [
        str(BIN / "kube-controller-manager"),
        *_kubeconfigs(pki / "controller-manager.kubeconfig"),
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={pki / 'sa.key'}",
        f"--root-ca-file={pki / 'ca.crt'}",
        f"--cluster-signing-cert-file={pki / 'ca.crt'}",
        f"--cluster-signing-key-file={pki / 'ca.key'}",
        "--pvclaimbinder-sync-period=1s",  # a claim that is seen before its volume waits for this
    ]


def scheduler(layout: Layout) -> list[str]:
    return [str(BIN / "kube-scheduler"), *_kubeconfigs(layout.pki / "scheduler.kubeconfig")]


def kubelet(layout: Layout) -> list[str]:
    return [
        str(BIN / "kubelet"),
        f"--config={layout.config / 'kubelet.json'}",
        f"--kubeconfig={layout.pki / 'kubelet.kubeconfig'}",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={NODE_ADDRESS}",
    ]


def kube_proxy(layout: Layout) -> list[str]:
    """Without the connection tracking limits: those are the whole machine's, not the namespace's."""
    limits = ("max-per-core", "tcp-timeout-established", "tcp-timeout-close-wait")
    return [
        str(BIN / "kube-proxy"),
        f"--kubeconfig={layout.pki / 'proxy.kubeconfig'}",
        f"--hostname-override={NODE_NAME}",
        f"--cluster-cidr={POD_NETWORK}",
        "--proxy-mode=iptables",
        *(f"--conntrack-{limit}=0" for limit in limits),
    ]


def kube_router(layout: Layout) -> list[str]:
    """The part that enforces NetworkPolicy; routes and services are others' here."""
    return [
        str(BIN / "kube-router"),
        f"--kubeconfig={layout.kubeconfig}",
        f"--hostname-override={NODE_NAME}",
        f"--service-cluster-ip-range={SERVICE_NETWORK}",
        "--run-firewall=true",
        "--run-router=false",
        "--run-service-proxy=false",
        "--health-port=0",
    ]


def write_config(layout: Layout) -> None:
    """Write the files that the command lines above name."""
    network = layout.config / "cni"
    network.mkdir(parents=True)
    (network / "10-pods.conflist").write_text(json.dumps(_pod_network()))
    (layout.config / "kubelet.json").write_text(json.dumps(_kubelet_config(layout)))
    disabled = ", ".join(f'"{plugin}"' for plugin in _UNUSED_PLUGINS)
    config = _CONTAINERD.format(disabled=disabled, socket=CONTAINERD_SOCKET, pause=images.PAUSE, cni=network)
    (layout.config / "containerd.toml").write_text(config)


def _kubeconfigs(kubeconfig: Path) -> list[str]:
    names = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
    return [*(f"--{name}={kubeconfig}" for name in names), "--bind-address=127.0.0.1", "--leader-elect=false"]


def _pod_network() -> dict[str, object]:
    """Point to point, not a bridge: every packet between pods is routed, so services work without br_netfilter."""
    addresses = {"ranges": [[{"subnet": POD_NETWORK}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "/run/cni"}
    plugin = {"type": "ptp", "ipMasq": False, "ipam": {"type": "host-local", **addresses}}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [plugin]}


def _kubelet_config(layout: Layout) -> dict[str, object]:
    pki = layout.pki
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(pki / "kubelet.key"),
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "failCgroupV1": False,  # some machines have nothing else; 1.35 and later refuse it by default
        "failSwapOn": False,
        # the disk is the developer's: neither evict pods nor drop images before it is really full
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "resolvConf": "",
    }
