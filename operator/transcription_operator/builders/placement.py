"""Where pods run and under which rules of the cluster: what a job's template says about it, for workers and others.

Workers get all of it. Plan and report are small CPU pods that must run wherever the cluster has room for them, also
where every node is a tainted GPU node, and should not wake or occupy a GPU node where there is another:

| field | plan and report | why |
|---|---|---|
| tolerations | yes | a cluster may have no node without a taint |
| nodeSelector | all but `nvidia.com/*` | architecture, zone and pool decide whether image, network and volumes are |
|  |  | there; which GPU a node has means nothing to them |
| priorityClassName | yes | the workers wait for the plan, the user for the report |
| serviceAccountName | yes | they reach the same bucket by the same identity |
| affinity, topologySpreadConstraints | no | how workers stand to GPUs and to each other |
| runtimeClassName | no | `nvidia` is unknown to the runtime of a CPU node: the pod would never start |

A nodeSelector such as `pool: gpu` therefore holds for them too: they ask for a tenth of a core there.
"""

from __future__ import annotations

from typing import Any

from transcription_api.job import TranscriptionJob

_FOR_ALL = ("serviceAccountName", "priorityClassName", "nodeSelector", "tolerations")
FOR_WORKERS = (*_FOR_ALL, "affinity", "topologySpreadConstraints", "runtimeClassName")
_GPU_LABELS = "nvidia.com/"
"""Prefix of the node labels that NVIDIA's GPU feature discovery and GPU operator set."""


def worker_placement(job: TranscriptionJob) -> dict[str, Any]:
    """Fields of a worker's core/v1 PodSpec."""
    return _given(job, FOR_WORKERS)


def control_placement(job: TranscriptionJob) -> dict[str, Any]:
    """Fields of the PodSpec of plan and report."""
    placement = _given(job, _FOR_ALL)
    selector = placement.pop("nodeSelector", {})
    kept = {name: value for name, value in selector.items() if not name.startswith(_GPU_LABELS)}
    return placement | ({"nodeSelector": kept} if kept else {})


def _given(job: TranscriptionJob, fields: tuple[str, ...]) -> dict[str, Any]:
    template = job.spec.workers.template.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {field: template[field] for field in fields if template.get(field)}
