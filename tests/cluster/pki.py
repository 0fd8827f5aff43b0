"""The cluster's certificates and kubeconfig files: one authority, one certificate for each component, made by openssl.

A certificate's subject is who its owner is to the API server: CN the user, O the groups (RBAC's default bindings).
"""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.layout import API_PORT, API_SERVICE_ADDRESS, NODE_ADDRESS, NODE_NAME, Layout

_DAYS = "3650"
_NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


@dataclass(frozen=True, slots=True)
class Identity:
    """One certificate. `api`: the host under which its owner finds the API server, "" for one without a kubeconfig."""

    name: str
    subject: str
    names: tuple[str, ...] = ()
    api: str = ""


_NODE_NAMES = (f"DNS:{NODE_NAME}", "DNS:localhost", "IP:127.0.0.1", f"IP:{NODE_ADDRESS}")
_SERVICE_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
_API_NAMES = (*(f"DNS:{name}" for name in _SERVICE_NAMES), f"IP:{API_SERVICE_ADDRESS}", *_NODE_NAMES)

IDENTITIES = (
    Identity("apiserver", "/CN=kube-apiserver", _API_NAMES),
    Identity("apiserver-kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client"),
    Identity("front-proxy-client", "/CN=front-proxy-client"),
    Identity("admin", "/O=system:masters/CN=admin", api=NODE_ADDRESS),
    Identity("controller-manager", "/CN=system:kube-controller-manager", api="127.0.0.1"),
    Identity("scheduler", "/CN=system:kube-scheduler", api="127.0.0.1"),
    Identity("proxy", "/CN=system:kube-proxy", api="127.0.0.1"),
    Identity("kubelet", f"/O=system:nodes/CN=system:node:{NODE_NAME}", _NODE_NAMES, api="127.0.0.1"),
)


def write_pki(layout: Layout) -> None:
    """Make every key, certificate and kubeconfig in `layout.pki`, for this start alone."""
    folder = layout.pki
    folder.mkdir(parents=True, mode=0o700)
    _openssl(folder, "req", "-x509", *_NEW_KEY, "-days", _DAYS, "-subj", "/CN=test-cluster", *_files("ca", "crt"))
    for identity in IDENTITIES:
        _certificate(folder, identity)
        if identity.api:
            (folder / f"{identity.name}.kubeconfig").write_text(_kubeconfig(folder, identity))
    _openssl(folder, "genrsa", "-out", "sa.key", "2048")
    _openssl(folder, "rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub")


def _certificate(folder: Path, identity: Identity) -> None:
    name = identity.name
    usage = "extendedKeyUsage=clientAuth,serverAuth\nkeyUsage=digitalSignature,keyEncipherment\n"
    alternatives = f"subjectAltName={','.join(identity.names)}\n" if identity.names else ""
    (folder / f"{name}.ext").write_text(usage + alternatives)
    _openssl(folder, "req", *_NEW_KEY, "-subj", identity.subject, *_files(name, "csr"))
    authority = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", _DAYS]
    _openssl(folder, "x509", "-req", "-in", f"{name}.csr", *authority, "-extfile", f"{name}.ext", "-out", f"{name}.crt")


def _files(name: str, kind: str) -> list[str]:
    return ["-keyout", f"{name}.key", "-out", f"{name}.{kind}"]


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def _kubeconfig(folder: Path, identity: Identity) -> str:
    """JSON, which is YAML."""

    def embed(name: str) -> str:
        return base64.b64encode((folder / name).read_bytes()).decode()

    server = {"server": f"https://{identity.api}:{API_PORT}", "certificate-authority-data": embed("ca.crt")}
    user = {
        "client-certificate-data": embed(f"{identity.name}.crt"),
        "client-key-data": embed(f"{identity.name}.key"),
    }
    context = {"cluster": "test-cluster", "user": identity.name, "namespace": "default"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test-cluster", "cluster": server}],
        "users": [{"name": identity.name, "user": user}],
        "contexts": [{"name": "test-cluster", "context": context}],
        "current-context": "test-cluster",
    }
    return json.dumps(config, indent=1)
