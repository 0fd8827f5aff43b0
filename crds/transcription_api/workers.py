"""The `workers` part of the spec: how many pods, with what, and what Kubernetes should know about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from transcription_api.base import ApiModel, Rule
from transcription_api.names import MAX_REPLICAS
from transcription_api.types import AnnotationValue, LabelValue, ObjectName, Quantity

_GPU = "nvidia.com/gpu"
_VOLUME_SOURCES = {
    "configMap": "config_map",
    "csi": "csi",
    "downwardAPI": "downward_api",
    "emptyDir": "empty_dir",
    "ephemeral": "ephemeral",
    "hostPath": "host_path",
    "image": "image",
    "nfs": "nfs",
    "persistentVolumeClaim": "persistent_volume_claim",
    "projected": "projected",
    "secret": "secret",
}
"""By the names of core/v1, those that are of use to a worker."""


class Resources(ApiModel):
    """What each worker asks of its node, beside GPUs."""

    rules: ClassVar = (
        Rule(
            f"!(has(self.limits) && '{_GPU}' in self.limits) && !(has(self.requests) && '{_GPU}' in self.requests)",
            lambda r: _GPU not in (r.limits or {}) and _GPU not in (r.requests or {}),
            f"{_GPU} is set from workers.gpus",
            "remove it here and write workers.gpus",
        ),
    )

    requests: Mapping[str, Quantity] = Field(
        {}, max_length=32, description="Guaranteed amounts by resource name.", examples=[{"cpu": 4, "memory": "16Gi"}]
    )
    limits: Mapping[str, Quantity] = Field(
        {}, max_length=32, description="Upper limits by resource name.", examples=[{"memory": "32Gi"}]
    )


class HostPath(ApiModel):
    """A directory of the node."""

    path: str = Field(
        min_length=2,
        max_length=1024,
        pattern=r"^/.+$",
        description="Absolute path on the node; made if missing.",
        examples=["/mnt/nvme/transcription"],
    )


class PersistentVolumeClaim(ApiModel):
    """A claim in the job's namespace."""

    claim_name: ObjectName = Field(description="Name of the PersistentVolumeClaim.", examples=["scratch"])


class ScratchVolume(ApiModel):
    """Where scratch lies if not in an emptyDir; workers may share it."""

    rules: ClassVar = (
        Rule(
            "has(self.hostPath) != has(self.persistentVolumeClaim)",
            lambda v: (v.host_path is None) != (v.persistent_volume_claim is None),
            "a scratch volume needs exactly one kind",
            "write either hostPath or persistentVolumeClaim",
        ),
    )

    host_path: HostPath | None = Field(None, description="A directory of the node.")
    persistent_volume_claim: PersistentVolumeClaim | None = Field(None, description="A claim in the job's namespace.")


class Scratch(ApiModel):
    """The only place on disk where a worker writes."""

    rules: ClassVar = (
        Rule(
            "!has(self.volume) || !has(self.medium) || self.medium == ''",
            lambda s: s.volume is None or not s.medium,
            "medium belongs to an emptyDir",
            "remove medium, or remove volume",
            at="medium",
        ),
    )

    size_limit: Quantity = Field(
        "20Gi", description="Bytes that scratch may hold; a pod above it is evicted.", examples=["20Gi"]
    )
    medium: Literal["", "Memory"] = Field(
        "", description="`Memory` keeps scratch in RAM, where it counts against the memory limit; empty is the disk."
    )
    min_free: Quantity = Field(
        "1Gi", description="Free bytes below which a worker stops fetching until there is room.", examples=["1Gi"]
    )
    volume: ScratchVolume | None = Field(None, description="A volume to use instead of an emptyDir.")


class ModelCache(ApiModel):
    """Where downloaded models are kept between pods."""

    claim_name: ObjectName = Field(
        description="PersistentVolumeClaim that all workers may mount (ReadWriteMany, or one node).",
        examples=["model-cache"],
    )


class Toleration(ApiModel):
    """A taint that the pods tolerate (core/v1 Toleration)."""

    key: str | None = Field(None, max_length=317, description="Taint key; none matches all.")
    operator: Literal["Exists", "Equal"] | None = Field(None, description="`Equal` (the default) or `Exists`.")
    value: str | None = Field(None, max_length=63, description="Taint value.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Taint effect; none matches all."
    )
    toleration_seconds: int | None = Field(
        None, description="How long a NoExecute taint is tolerated, in seconds; none is for ever."
    )


class EnvVar(ApiModel):
    """An environment variable of the worker container (core/v1 EnvVar)."""

    rules: ClassVar = (
        Rule(
            "!self.name.startsWith('TRANSCRIPTION_') && self.name != 'JOB_COMPLETION_INDEX'",
            lambda v: not v.name.startswith("TRANSCRIPTION_") and v.name != "JOB_COMPLETION_INDEX",
            "this variable is written by the operator",
            "remove it; what it says is set by other fields of the spec",
            at="name",
        ),
    )

    name: str = Field(
        min_length=1, max_length=253, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Name.", examples=["HF_ENDPOINT"]
    )
    value: str | None = Field(None, max_length=32_768, description="Value.")
    value_from: Mapping[str, Any] | None = Field(None, description="Source of the value (core/v1 EnvVarSource).")


VolumeSource = Mapping[str, Any] | None


class Volume(ApiModel):
    """An additional volume (core/v1 Volume): a name and exactly one source."""

    rules: ClassVar = (
        Rule(
            f"[{', '.join(f'has(self.{source})' for source in _VOLUME_SOURCES)}].exists_one(given, given)",
            lambda v: [getattr(v, name) for name in _VOLUME_SOURCES.values()].count(None) == len(_VOLUME_SOURCES) - 1,
            "a volume needs exactly one source",
            f"write one of {', '.join(_VOLUME_SOURCES)}",
        ),
    )

    name: str = Field(
        min_length=1,
        max_length=63,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        description="Name that `volumeMounts` refers to.",
        examples=["models"],
    )
    config_map: VolumeSource = Field(None, description="A ConfigMap.")
    csi: VolumeSource = Field(None, description="An ephemeral volume of a CSI driver.")
    downward_api: VolumeSource = Field(None, alias="downwardAPI", description="Facts about the pod.")
    empty_dir: VolumeSource = Field(None, description="An empty directory.")
    ephemeral: VolumeSource = Field(None, description="A claim that lives as long as the pod.")
    host_path: VolumeSource = Field(None, description="A path of the node.")
    image: VolumeSource = Field(None, description="An OCI image.")
    nfs: VolumeSource = Field(None, description="An NFS export.")
    persistent_volume_claim: VolumeSource = Field(None, description="A claim in the job's namespace.")
    projected: VolumeSource = Field(None, description="Several sources in one directory.")
    secret: VolumeSource = Field(None, description="A Secret.")


class VolumeMount(ApiModel):
    """Where an additional volume is mounted in the worker container (core/v1 VolumeMount)."""

    name: str = Field(min_length=1, max_length=63, description="Name of the volume.")
    mount_path: str = Field(min_length=1, max_length=1024, pattern="^/", description="Absolute path in the container.")
    sub_path: str | None = Field(None, max_length=1024, description="Path inside the volume.")
    read_only: bool = Field(False, description="Whether the mount is read-only.")


class ImagePullSecret(ApiModel):
    """A Secret with registry credentials in the job's namespace."""

    name: ObjectName = Field(description="Name of the Secret.")


class PodMetadata(ApiModel):
    """Labels and annotations for the pods; those of the operator cannot be replaced."""

    labels: Mapping[str, LabelValue] = Field({}, max_length=64, description="Additional labels.")
    annotations: Mapping[str, AnnotationValue] = Field({}, max_length=64, description="Additional annotations.")


class PodSpec(ApiModel):
    """What Kubernetes should know about the pods. Names and meanings are those of core/v1 PodSpec and Container."""

    node_selector: Mapping[str, LabelValue] = Field({}, max_length=64, description="Labels that the node must have.")
    tolerations: tuple[Toleration, ...] = Field((), max_length=64, description="Taints that the pods tolerate.")
    affinity: Mapping[str, Any] | None = Field(None, description="Scheduling preferences (core/v1 Affinity).")
    topology_spread_constraints: tuple[Mapping[str, Any], ...] = Field(
        (), max_length=16, description="How pods spread over the cluster (core/v1 TopologySpreadConstraint)."
    )
    priority_class_name: ObjectName | None = Field(None, description="PriorityClass of the pods.")
    service_account_name: ObjectName | None = Field(
        None, description="ServiceAccount of the pods, for workload identity; its token is not mounted."
    )
    runtime_class_name: ObjectName | None = Field(None, description="RuntimeClass of the pods.", examples=["nvidia"])
    image_pull_secrets: tuple[ImagePullSecret, ...] = Field(
        (), max_length=16, description="Secrets to pull the image with."
    )
    security_context: Mapping[str, Any] | None = Field(
        None, description="Fields that replace those of the pods' security context (core/v1 PodSecurityContext)."
    )
    env: tuple[EnvVar, ...] = Field((), max_length=128, description="Additional environment of the worker container.")
    volumes: tuple[Volume, ...] = Field((), max_length=32, description="Additional volumes.")
    volume_mounts: tuple[VolumeMount, ...] = Field((), max_length=32, description="Where the volumes are mounted.")


class PodTemplate(ApiModel):
    """Additions to the pods that the operator makes."""

    metadata: PodMetadata = Field(PodMetadata(), description="Additional labels and annotations.")
    spec: PodSpec = Field(PodSpec(), description="Additions to the pod's spec.")


class Workers(ApiModel):
    """The pods that do the work."""

    replicas: int = Field(
        1, ge=1, le=MAX_REPLICAS, description="Worker pods. May be changed while the job runs.", examples=[4]
    )
    gpus: int = Field(
        1,
        ge=0,
        le=16,
        description="GPUs per worker; 0 computes on the CPU. It computes on one: for more speed take more replicas.",
        examples=[1],
    )
    resources: Resources = Field(Resources(), description="CPU, memory and other resources of each worker.")
    scratch: Scratch = Field(Scratch(), description="The only place on disk where a worker writes.")
    cache: ModelCache | None = Field(None, description="Where downloaded models are kept between pods.")
    image: str | None = Field(
        None,
        min_length=1,
        max_length=1024,
        pattern=r"^\S+$",
        description="Image of the worker; without it the operator's own release.",
        examples=["example.com/transcription-worker:0.1.0"],
    )
    template: PodTemplate = Field(PodTemplate(), description="Additions to the pods.")
