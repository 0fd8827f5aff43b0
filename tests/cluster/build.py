"""Builds the cluster's programs, helm and what checks manifests with Go into `.tools/bin`, each once per version.

The versions stand in `modules/`, one Go module for each program whose own go.mod has replace directives (`go install`
refuses those), and in the table below. Go's caches in the home folder make a second checkout's build fast.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.cluster.errors import ClusterError
from tests.cluster.layout import BIN

_MODULES = Path(__file__).parent / "modules"
_KUBERNETES = _MODULES / "kubernetes"
_ETCD = _MODULES / "etcd"


@dataclass(frozen=True, slots=True)
class Program:
    """One program. `module` is the folder of a go.mod; without one, `package` carries its @version."""

    name: str
    package: str
    module: Path | None = None
    tags: str = ""
    flags: str = "-s -w"

    @property
    def digest(self) -> str:
        """Changes whenever the program has to be built again."""
        lock = (self.module / "go.mod").read_bytes() if self.module else b""
        return hashlib.sha256(b"\0".join([repr((self.package, self.tags, self.flags)).encode(), lock])).hexdigest()


@cache
def kubernetes_version() -> str:
    """Such as v1.34.4, from the module file."""
    found = re.search(r"^\s*k8s\.io/kubernetes (v\S+)", (_KUBERNETES / "go.mod").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def _kubernetes(name: str) -> Program:
    """Without a version in its flags a Kubernetes program calls itself v0.0.0, and clients refuse to talk to it."""
    version = kubernetes_version()
    major, minor = version.removeprefix("v").split(".")[:2]
    facts = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    flags = " ".join(f"-X {package}.{key}={value}" for package in packages for key, value in facts.items())
    return Program(name, f"k8s.io/kubernetes/cmd/{name}", _KUBERNETES, tags="providerless", flags=f"-s -w {flags}")


PROGRAMS = {
    program.name: program
    for program in (
        Program("helm", "helm.sh/helm/v3/cmd/helm@v3.22.0"),
        _kubernetes("kubectl"),
        Program("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0"),
        Program("kube-score", "github.com/zegl/kube-score/cmd/kube-score@v1.20.0"),
        Program("etcd", "go.etcd.io/etcd/server/v3", _ETCD),
        _kubernetes("kube-apiserver"),
        _kubernetes("kube-controller-manager"),
        _kubernetes("kube-scheduler"),
        _kubernetes("kubelet"),
        _kubernetes("kube-proxy"),
        Program("kube-router", "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router@v2.1.0"),
    )
}


def build(*names: str) -> None:
    """Build what is missing or of another version; all programs without a name.

    The first build on a machine takes about ten minutes on two cores, one with warm caches half a minute.

    Raises:
        ClusterError: there is no such program, no Go, or the build failed.
    """
    for name in names or PROGRAMS:
        if name not in PROGRAMS:
            raise ClusterError(f"There is no program {name!r} to build; there are {', '.join(PROGRAMS)}.")
        program, stamp = PROGRAMS[name], BIN / f".{name}.built"
        if (BIN / name).exists() and stamp.exists() and stamp.read_text() == program.digest:
            continue
        print(f"building {name}", file=sys.stderr, flush=True)
        _go(program)
        stamp.write_text(program.digest)


def _go(program: Program) -> None:
    go = shutil.which("go")
    if go is None:
        raise ClusterError(f"Go is missing, and {program.name} is built with it; install Go 1.26 or later.")
    BIN.mkdir(parents=True, exist_ok=True)
    (BIN / program.name).unlink(missing_ok=True)  # a running program's file cannot be written, but it can be replaced
    options = ["-trimpath", "-ldflags", program.flags, *(["-tags", program.tags] if program.tags else [])]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOBIN": str(BIN)}
    if program.module:
        command = [go, "build", *options, "-o", str(BIN / program.name), program.package]
    else:
        command = [go, "install", *options, program.package]
    if subprocess.run(command, cwd=program.module or BIN, env=environment).returncode != 0:
        raise ClusterError(f"{program.name} could not be built; what Go said stands above.")
