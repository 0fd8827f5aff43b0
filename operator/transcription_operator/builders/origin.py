"""Which field of a TranscriptionJob a field of its child comes from: faults are found there and mended here.

The way back through the builders beside this file. What they, or a webhook of the cluster, made by themselves keeps
its name in the child.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from transcription_api.job import TranscriptionJob
from transcription_api.names import LABEL_COMPONENT, Component
from transcription_operator.builders.placement import FOR_WORKERS

_TEMPLATE = "spec.workers.template"
_CONTAINER = re.compile(r"spec\.template\.spec\.(containers|initContainers)\[(\d+)\]\.(.+)")
_IN_POD = re.compile(r"spec\.template\.spec\.(.+)")
_METADATA = re.compile(r"spec\.template\.(?:metadata\.)?((?:labels|annotations)\b.*)")
"""The API server's validation leaves `metadata` out."""
_ENTRY = re.compile(r"(volumes|volumeMounts|env)\[(\d+)\](.*)")
_COPIED = (*FOR_WORKERS, "securityContext", "imagePullSecrets")


def origin(field: str, body: Mapping[str, Any], job: TranscriptionJob) -> str:
    """The field of the job, or of the chart's values, that `field` of its child was made from.

    Args:
        field: of the batch/v1 Job, as in the causes of an API server's answer.
        body: that Job.
    """
    if match := _METADATA.fullmatch(field):
        return f"{_TEMPLATE}.metadata.{match[1]}"
    if match := _CONTAINER.fullmatch(field):
        containers, number = body["spec"]["template"]["spec"].get(match[1], ()), int(match[2])
        return (_of_container(match[3], containers[number], body, job) if number < len(containers) else "") or field
    if match := _IN_POD.fullmatch(field):
        if re.split(r"[.\[]", match[1])[0] in _COPIED:
            return f"{_TEMPLATE}.spec.{match[1]}"
        return _of_entry(match[1], body["spec"]["template"]["spec"], job) or field
    return field


def _of_container(field: str, container: Mapping[str, Any], body: Mapping[str, Any], job: TranscriptionJob) -> str:
    if field == "image" and job.spec.workers.image:
        return "spec.workers.image"
    if field.startswith("resources"):
        if body["metadata"]["labels"][LABEL_COMPONENT] == Component.WORK:
            return f"spec.workers.{field}"
        return f"worker.controlResources{field.removeprefix('resources')} of the operator's chart"
    return _of_entry(field, container, job)


def _of_entry(field: str, holder: Mapping[str, Any], job: TranscriptionJob) -> str:
    """Of a list in which the template's entries stand behind the operator's own; empty for those and for others."""
    match = _ENTRY.fullmatch(field)
    if match is None:
        return ""
    name, index, rest = match[1], int(match[2]), match[3]
    spec = job.spec.workers.template.spec
    added = {"volumes": len(spec.volumes), "volumeMounts": len(spec.volume_mounts), "env": len(spec.env)}
    number = index - (len(holder[name]) - added[name])
    return f"{_TEMPLATE}.spec.{name}[{number}]{rest}" if 0 <= number < added[name] else ""
