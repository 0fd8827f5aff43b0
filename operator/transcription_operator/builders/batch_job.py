"""The batch/v1 Job around a pod template, and what a pod's end means to it.

Needs Kubernetes 1.31: podFailurePolicy is stable there, and backoffLimitPerIndex (stable in 1.33, KEP-3850) and
podReplacementPolicy (1.34, KEP-3939) are on by default. Neither deadline nor TTL is set: both are the operator's, which
counts them over all three Jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transcription_api.job import TranscriptionJob
from transcription_api.names import Component
from transcription_operator.builders.metadata import job_metadata
from transcription_operator.constants import FATAL_EXIT_CODES


def batch_job(
    job: TranscriptionJob, component: Component, *, template: Mapping[str, Any], **spec: Any
) -> dict[str, Any]:
    """A Job that is ready to be created.

    Args:
        template: core/v1 PodTemplateSpec.
        spec: completions, limits and other fields of the JobSpec.

    Raises:
        ValueError: the job did not come from an API server.
    """
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": job_metadata(job, component),
        "spec": {
            **spec,
            # A successor starts when its predecessor is gone: never two writers of one index.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _failure_rules()},
            "template": template,
        },
    }


def _failure_rules() -> list[dict[str, Any]]:
    """The first that matches counts, also for init containers; what matches none is one attempt used up (KEP-3329)."""
    return [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [int(code) for code in FATAL_EXIT_CODES]}},
    ]
