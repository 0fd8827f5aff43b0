"""What the pods of plan, work and report have in common: Pod Security `restricted`, no API token, one image.

Every container has a read-only root file system; it writes to its volumes alone (`volumes.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transcription_api.job import TranscriptionJob
from transcription_api.names import Component
from transcription_operator import constants
from transcription_operator.builders.environment import Variable
from transcription_operator.builders.metadata import pod_metadata
from transcription_operator.builders.volumes import Storage
from transcription_operator.config import Config


def container(
    job: TranscriptionJob,
    config: Config,
    name: str,
    *arguments: str,
    env: Sequence[Variable],
    storage: Storage,
    resources: Mapping[str, Any],
    **fields: Any,
) -> dict[str, Any]:
    """A core/v1 Container that runs the entry point of its own name.

    Args:
        arguments: options of the entry point.
        fields: further fields of the container.
    """
    policy = {"imagePullPolicy": config.image_pull_policy} if config.image_pull_policy else {}
    return {
        "name": name,
        "image": job.spec.workers.image or config.worker_image,
        **policy,
        "command": [constants.WORKER_COMMAND, name, constants.VERBOSE, *arguments],
        "env": list(env),
        **({"resources": dict(resources)} if resources else {}),
        "volumeMounts": list(storage.mounts),
        **fields,
        # What a failed pod said last becomes a sentence in the job's status; plan and report write their summary there.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def pod_template(
    job: TranscriptionJob,
    config: Config,
    component: Component,
    *,
    containers: Sequence[Mapping[str, Any]],
    init_containers: Sequence[Mapping[str, Any]] = (),
    storage: Storage,
    placement: Mapping[str, Any],
    grace_seconds: int,
) -> dict[str, Any]:
    """A core/v1 PodTemplateSpec.

    Args:
        storage: whose volumes the containers mount.
        placement: fields that say where the pod runs.
        grace_seconds: from the wish to end the pod to SIGKILL, the preStop hook included.
    """
    return {
        "metadata": pod_metadata(job, component),
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": grace_seconds,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": _security_context(job),
            **placement,
            **_pull_secrets(job, config),
            **({"initContainers": list(init_containers)} if init_containers else {}),
            "containers": list(containers),
            "volumes": list(storage.volumes),
        },
    }


def _security_context(job: TranscriptionJob) -> dict[str, Any]:
    return {
        "runAsNonRoot": True,
        "runAsUser": constants.RUN_AS,
        "runAsGroup": constants.RUN_AS,
        "fsGroup": constants.RUN_AS,
        # A cache of many models is not walked at the start of every pod.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
        **(job.spec.workers.template.spec.security_context or {}),
    }


def _pull_secrets(job: TranscriptionJob, config: Config) -> dict[str, Any]:
    own = [secret.name for secret in job.spec.workers.template.spec.image_pull_secrets]
    names = dict.fromkeys([*config.image_pull_secrets, *own])
    return {"imagePullSecrets": [{"name": name} for name in names]} if names else {}
