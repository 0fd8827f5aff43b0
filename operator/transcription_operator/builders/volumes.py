"""Volumes of the pods and where they are mounted: scratch, cache, model, certificates, shared memory, the template's.

All are writable by user and group 65532 without a container that runs as root: an emptyDir is open to all, and a claim
is given to the pod's fsGroup by the kubelet. Kubernetes applies no fsGroup to a hostPath: a directory that the kubelet
had to make belongs to root with mode 0755, and no worker can write it. Whoever names `workers.scratch.volume.hostPath`
therefore makes the directory on every node first:

    install -d -o 65532 -g 65532 -m 0700 /mnt/nvme/transcription

or lets the pods run as its owner (`workers.template.spec.securityContext: {runAsUser, runAsGroup}`). Where neither was
done, the sweep ends with exit code 78 and "Scratch /scratch cannot be used by user 65532 (Permission denied): ...": the
job fails at once and no GPU waits. Pod Security `restricted` and `baseline` forbid hostPath: such a job needs a
namespace that allows it, or a claim on a local PersistentVolume.

A volume or mount of the template that collides with one of these is refused by the API server, which names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transcription_api.job import TranscriptionJob
from transcription_operator import constants

SHARED_MEMORY_SIZE = "1Gi"
"""Of /dev/shm, which container runtimes limit to 64 MiB. Counts against the memory limit as far as it is used."""


@dataclass(frozen=True, slots=True)
class Storage:
    """core/v1 Volumes of a pod, and the VolumeMounts of its containers."""

    volumes: tuple[dict[str, Any], ...] = ()
    mounts: tuple[dict[str, Any], ...] = ()

    def __add__(self, other: Storage) -> Storage:
        return Storage(self.volumes + other.volumes, self.mounts + other.mounts)


def worker_storage(job: TranscriptionJob) -> Storage:
    """What sweep and worker see; shared memory is added for the worker alone."""
    return _scratch(job) + _cache(job) + _model(job) + _certificates(job) + _additions(job)


def control_storage(job: TranscriptionJob) -> Storage:
    """What plan and report see: a scratch on the node's disk, and neither cache nor model, for they load none.

    A shared scratch stays with the workers: a claim that one node at a time may mount would bind these pods to it.
    """
    return _scratch_directory({"sizeLimit": job.spec.workers.scratch.size_limit}) + _certificates(job) + _additions(job)


def shared_memory() -> Storage:
    source = {"emptyDir": {"medium": "Memory", "sizeLimit": SHARED_MEMORY_SIZE}}
    return _storage(constants.SHARED_MEMORY_VOLUME, source, constants.SHARED_MEMORY_PATH)


def _scratch(job: TranscriptionJob) -> Storage:
    scratch = job.spec.workers.scratch
    if scratch.volume is None:
        directory = {"medium": scratch.medium} if scratch.medium else {}
        return _scratch_directory({**directory, "sizeLimit": scratch.size_limit})
    if scratch.volume.host_path is not None:
        source = {"hostPath": {"path": scratch.volume.host_path.path, "type": "DirectoryOrCreate"}}
        return _storage(constants.SCRATCH_VOLUME, source, constants.SCRATCH_PATH)
    assert scratch.volume.persistent_volume_claim is not None  # a rule of the API: exactly one of the two
    claim = scratch.volume.persistent_volume_claim.claim_name
    return _storage(constants.SCRATCH_VOLUME, _claim(claim), constants.SCRATCH_PATH)


def _scratch_directory(directory: dict[str, Any]) -> Storage:
    return _storage(constants.SCRATCH_VOLUME, {"emptyDir": directory}, constants.SCRATCH_PATH)


def _cache(job: TranscriptionJob) -> Storage:
    cache = job.spec.workers.cache
    source: dict[str, Any] = {"emptyDir": {}} if cache is None else _claim(cache.claim_name)
    return _storage(constants.CACHE_VOLUME, source, constants.CACHE_PATH)


def _model(job: TranscriptionJob) -> Storage:
    model = job.spec.model.volume
    if model is None:
        return Storage()
    source = _claim(model.claim_name, readOnly=True)
    return _storage(constants.MODEL_VOLUME, source, constants.MODEL_PATH, read_only=True)


def _certificates(job: TranscriptionJob) -> Storage:
    bundle = job.spec.storage.ca_bundle
    if bundle is None or bundle.config_map_name is None:
        return Storage()
    items = [{"key": bundle.key, "path": constants.CA_BUNDLE_FILE}]
    source = {"configMap": {"name": bundle.config_map_name, "items": items}}
    return _storage(constants.CA_BUNDLE_VOLUME, source, constants.CA_BUNDLE_PATH, read_only=True)


def _additions(job: TranscriptionJob) -> Storage:
    spec = job.spec.workers.template.spec
    return Storage(
        tuple(volume.model_dump(mode="json", by_alias=True, exclude_none=True) for volume in spec.volumes),
        tuple(
            mount.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
            for mount in spec.volume_mounts
        ),
    )


def _claim(name: str, **options: Any) -> dict[str, Any]:
    return {"persistentVolumeClaim": {"claimName": name, **options}}


def _storage(name: str, source: dict[str, Any], path: str, *, read_only: bool = False) -> Storage:
    mount = {"name": name, "mountPath": path} | ({"readOnly": True} if read_only else {})
    return Storage(({"name": name, **source},), (mount,))
