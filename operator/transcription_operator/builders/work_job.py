"""The work Job: one index per worker, each swept first, drained last, and replaced when its pod is lost.

There is no liveness probe. A worker whose model hangs is not dead to a probe that its HTTP thread answers, and one that
loads a model may answer late; killing it would throw away work in flight that is safe where it is: the other workers
take over recordings that stay unfinished, and a job can have a deadline.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transcription_api.job import TranscriptionJob
from transcription_api.names import Component
from transcription_api.workers import Workers
from transcription_operator import constants
from transcription_operator.builders.batch_job import batch_job
from transcription_operator.builders.environment import Variable, environment
from transcription_operator.builders.metadata import is_queued
from transcription_operator.builders.placement import worker_placement
from transcription_operator.builders.pod import container, pod_template
from transcription_operator.builders.volumes import Storage, shared_memory, worker_storage
from transcription_operator.config import Config

SWEEP_AFTER_DRAIN_SECONDS = 10
"""Kept of the grace period for what follows the drain: the hook's sweep, and the end of the container."""

_SWEEP_RESOURCES = frozenset({"cpu", "memory", "ephemeral-storage"})


def build_work_job(job: TranscriptionJob, config: Config) -> dict[str, Any]:
    """The batch/v1 Job `<name>-work`.

    maxFailedIndexes is left out, which lets the Job go on however many indexes have failed: their shards are finished
    by the others. Set to the number of workers it would mean the same, but the API server would then refuse to lower
    completions and parallelism, which is how `workers.replicas` changes while the job runs.

    Raises:
        ManifestTooLargeError: the spec does not fit into a pod's environment.
        ValueError: the job did not come from an API server.
    """
    replicas = job.spec.workers.replicas
    swept = worker_storage(job)
    storage = shared_memory() + swept  # what the template adds stays last: origin.py counts on it
    template = pod_template(
        job,
        config,
        Component.WORK,
        init_containers=[_sweep(job, config, swept)],
        containers=[_work(job, config, storage)],
        storage=storage,
        placement=worker_placement(job),
        grace_seconds=config.grace_seconds,
    )
    # Kueue starts and stops the Jobs that carry its label; two writers of `suspend` would undo each other.
    suspended = {"suspend": True} if job.spec.suspend and not is_queued(job) else {}
    return batch_job(
        job,
        Component.WORK,
        template=template,
        **suspended,
        completionMode="Indexed",
        completions=replicas,
        parallelism=replicas,
        backoffLimitPerIndex=job.spec.failure_policy.attempts_per_worker - 1,
    )


def _sweep(job: TranscriptionJob, config: Config, storage: Storage) -> dict[str, Any]:
    """Clears scratch and checks room and model before the worker starts.

    It asks for the CPU and memory of the worker, which costs nothing (a pod's need is the larger of the two) and keeps
    a pod Guaranteed whose worker is; and for no GPU, for it computes nothing.
    """
    resources = {
        kind: {name: amount for name, amount in amounts.items() if name in _SWEEP_RESOURCES}
        for kind, amounts in _resources(job.spec.workers).items()
    }
    return container(
        job,
        config,
        constants.SWEEP,
        "--min-free",
        str(job.spec.workers.scratch.min_free),
        "--check-model",
        env=_environment(job),
        storage=storage,
        resources={kind: amounts for kind, amounts in resources.items() if amounts},
    )


def _work(job: TranscriptionJob, config: Config, storage: Storage) -> dict[str, Any]:
    listen = {"name": constants.LISTEN_VARIABLE, "value": constants.LISTEN_ADDRESS}
    patience = str(config.grace_seconds - SWEEP_AFTER_DRAIN_SECONDS)
    return container(
        job,
        config,
        Component.WORK.value,
        env=_environment(job, listen),
        storage=storage,
        resources=_resources(job.spec.workers),
        ports=[{"name": constants.HTTP_PORT_NAME, "containerPort": constants.HTTP_PORT}],
        readinessProbe={
            "httpGet": {"path": constants.READY_PATH, "port": constants.HTTP_PORT_NAME},
            "periodSeconds": 5,
            "timeoutSeconds": 3,
        },
        lifecycle={
            "preStop": {"exec": {"command": [constants.WORKER_COMMAND, constants.DRAIN, "--timeout", patience]}}
        },
    )


def _resources(workers: Workers) -> Mapping[str, Mapping[str, Any]]:
    gpus = {constants.GPU_RESOURCE: str(workers.gpus)} if workers.gpus else {}
    resources = {
        "requests": {**workers.resources.requests, **gpus},
        "limits": {**workers.resources.limits, **gpus},
    }
    return {kind: amounts for kind, amounts in resources.items() if amounts}


def _environment(job: TranscriptionJob, *own: Variable) -> list[Variable]:
    """HOME is the cache: what libraries leave there (`~/.lhotse`) must not stay in a scratch that outlives the pod."""
    model = {"name": constants.MODEL_DIRECTORY_VARIABLE, "value": constants.MODEL_PATH}
    return environment(job, home=constants.CACHE_PATH, own=[*([model] if job.spec.model.volume else []), *own])
