"""Names, labels, annotations and the owner of a job's children and of their pods."""

from __future__ import annotations

from typing import Any

from transcription_api import names
from transcription_api.job import TranscriptionJob, options_digest
from transcription_api.names import Component

_SUFFIXES = {
    Component.PLAN: names.PLAN_SUFFIX,
    Component.WORK: names.WORK_SUFFIX,
    Component.REPORT: names.REPORT_SUFFIX,
}


def child_name(job_name: str, component: Component) -> str:
    """`calls` and PLAN give `calls-plan`: the same at every attempt, so that no child is ever made twice."""
    return f"{job_name}{_SUFFIXES[component]}"


def job_metadata(job: TranscriptionJob, component: Component) -> dict[str, Any]:
    """Metadata of a child. Kueue's labels go to the work Job alone: plan and report need no quota for GPUs.

    Raises:
        ValueError: the job did not come from an API server (no uid or no namespace).
    """
    owner = job.metadata
    if not owner.uid or not owner.namespace:
        raise ValueError(f"TranscriptionJob {owner.name} has no uid or no namespace: nothing can belong to it.")
    labels = _labels(job, component)
    if component is Component.WORK:
        labels |= {name: owner.labels[name] for name in names.INHERITED_LABELS if name in owner.labels}
    return {
        "name": child_name(owner.name, component),
        "namespace": owner.namespace,
        "labels": labels,
        "annotations": _annotations(job),
        "ownerReferences": [
            {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "name": owner.name,
                "uid": owner.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def pod_metadata(job: TranscriptionJob, component: Component) -> dict[str, Any]:
    """Metadata of a child's pods: the template's labels and annotations, beneath the operator's own.

    Kueue's labels are not among them: with its integration for plain pods each pod would be queued a second time.
    """
    additions = job.spec.workers.template.metadata
    return {
        "labels": {**additions.labels, **_labels(job, component)},
        "annotations": {**additions.annotations, **_annotations(job)},
    }


def is_queued(job: TranscriptionJob) -> bool:
    """Whether Kueue decides when the workers run: it then owns the `suspend` of their Job."""
    return names.LABEL_QUEUE_NAME in job.metadata.labels


def _labels(job: TranscriptionJob, component: Component) -> dict[str, str]:
    return {
        names.LABEL_APP_NAME: names.APP_NAME,
        names.LABEL_APP_INSTANCE: job.metadata.name,
        names.LABEL_APP_COMPONENT: component.value,
        names.LABEL_APP_MANAGED_BY: names.APP_NAME,
        names.LABEL_JOB: job.metadata.name,
        names.LABEL_COMPONENT: component.value,
    }


def _annotations(job: TranscriptionJob) -> dict[str, str]:
    return {names.ANNOTATION_OPTIONS_DIGEST: options_digest(job.spec.transcription)}
