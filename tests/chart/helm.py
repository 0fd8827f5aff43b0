"""The chart as tests see it: rendered manifests, refusals, lint. Runs the real helm, built once into .tools/bin."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.build import build, kubernetes_version
from tests.cluster.errors import ClusterError
from tests.cluster.layout import BIN, REPOSITORY

CHART = REPOSITORY / "charts" / "transcription-operator"
VALUES = Path(__file__).parent / "values"
VALUE_FILES = sorted(VALUES.glob("*.yaml"))
RELEASE, NAMESPACE = "speech", "speech-system"

Manifest = dict[str, Any]


def require(program: str) -> Path:
    """A program of .tools/bin; skips where it cannot be built, but never in CI."""
    try:
        build(program)
    except ClusterError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
    return BIN / program


def helm(*arguments: str, check: bool = True, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [str(require("helm")), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, env={**os.environ, **(env or {})})
    assert not check or done.returncode == 0, done.stderr
    return done


def render(*values: Path, settings: Sequence[str] = (), version: str | None = None) -> list[Manifest]:
    """The manifests of a release, tests included; `settings` as in --set."""
    text = helm("template", *_release(values, settings, version)).stdout
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


def refusal(*values: Path, settings: Sequence[str] = (), version: str | None = None) -> str:
    """What helm says where it refuses the values; a test fails where it does not."""
    done = helm("template", *_release(values, settings, version), check=False)
    assert done.returncode != 0, "these values are accepted"
    return done.stderr


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def one(manifests: list[Manifest], kind: str) -> Manifest:
    (manifest,) = of_kind(manifests, kind)
    return manifest


def is_hook(manifest: Manifest) -> bool:
    return "helm.sh/hook" in manifest["metadata"].get("annotations", {})


def _release(values: Sequence[Path], settings: Sequence[str], version: str | None) -> list[str]:
    return [
        RELEASE,
        str(CHART),
        f"--namespace={NAMESPACE}",
        f"--kube-version={version or kubernetes_version()}",
        *(f"--values={path}" for path in values),
        *(f"--set={setting}" for setting in settings),
    ]
