"""What a pod mounts to run this checkout's Python environment in the `hostbind` image. Pure: builds manifests only.

The level `restricted` of Pod Security forbids hostPath volumes and allows claims; a claim bound to a PersistentVolume
that is a hostPath comes to the same (https://kubernetes.io/docs/concepts/security/pod-security-standards/). Each folder
is mounted read-only at its own path, since entry points, links and the editable install name absolute paths.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.layout import REPOSITORY

_SOURCES = ("crds", "worker", "operator")
_NAMESPACE_LABEL = "transcription-operator.io/test-namespace"


@dataclass(frozen=True, slots=True)
class EnvironmentVolumes:
    """Entries for a pod template. All empty where the image brings the environment along."""

    volumes: tuple[dict[str, Any], ...] = ()
    volume_mounts: tuple[dict[str, Any], ...] = ()
    env: tuple[dict[str, str], ...] = ()


def environment_volumes() -> EnvironmentVolumes:
    """For a pod in any namespace that `claim_manifests` was applied to."""
    folders = _folders()
    return EnvironmentVolumes(
        volumes=tuple(
            {"name": name, "persistentVolumeClaim": {"claimName": name, "readOnly": True}} for name in folders
        ),
        volume_mounts=tuple(
            {"name": name, "mountPath": str(folder), "readOnly": True} for name, folder in folders.items()
        ),
        env=(
            {"name": "PATH", "value": f"{Path(sys.prefix, 'bin')}:/usr/local/bin:/usr/bin:/bin"},
            {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
        ),
    )


def claim_manifests(namespace: str) -> list[dict[str, Any]]:
    """One PersistentVolume and one claim, bound to each other, for each folder."""
    found: list[dict[str, Any]] = []
    for name, folder in _folders().items():
        volume = f"{namespace}-{name}"
        storage = {"accessModes": ["ReadOnlyMany"], "storageClassName": ""}
        found.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": volume, "labels": {_NAMESPACE_LABEL: namespace}},
                "spec": {
                    **storage,
                    "capacity": {"storage": "1Gi"},
                    "hostPath": {"path": str(folder), "type": "Directory"},
                    "claimRef": {"namespace": namespace, "name": name},
                },
            }
        )
        found.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {**storage, "volumeName": volume, "resources": {"requests": {"storage": "1Gi"}}},
            }
        )
    return found


def volume_selector(namespace: str) -> str:
    """The label selector of a namespace's PersistentVolumes, which do not go with the namespace."""
    return f"{_NAMESPACE_LABEL}={namespace}"


def _folders() -> dict[str, Path]:
    """Volume name -> folder, none inside another: /usr, the interpreter's, the virtual environment, the sources."""
    wanted = {"usr": Path("/usr"), "interpreter": Path(sys.base_prefix), "environment": Path(sys.prefix)}
    wanted |= {f"source-{name}": REPOSITORY / name for name in _SOURCES if (REPOSITORY / name).is_dir()}
    return {
        name: folder
        for name, folder in wanted.items()
        if not any(folder != other and folder.is_relative_to(other) for other in wanted.values())
    }
