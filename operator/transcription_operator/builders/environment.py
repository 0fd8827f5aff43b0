"""The environment of the containers: the manifest, the places, credentials, and what the job's template adds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from transcription_api.job import TranscriptionJob
from transcription_operator import constants

_LONGEST_STRING = 128 * 1024
"""Bytes of one `NAME=value` with its closing zero byte: MAX_ARG_STRLEN of execve(2)."""

Variable = dict[str, Any]
"""core/v1 EnvVar."""


class ManifestTooLargeError(Exception):
    """The spec does not fit into an environment variable; the message says what to shorten."""


def environment(job: TranscriptionJob, *, home: str, own: Iterable[Variable] = ()) -> list[Variable]:
    """core/v1 EnvVars of a container; no name stands twice.

    The template's variables come last, so that they may refer to the operator's. Where both name one (HOME, AWS_*), it
    is the template's; TRANSCRIPTION_* it cannot name.

    Args:
        home: HOME, a directory that may be written.
        own: further variables of this container alone.

    Raises:
        ManifestTooLargeError: the manifest exceeds 128 KiB.
    """
    ours = [*_common(job, home), *own]
    theirs = {variable.name: variable for variable in job.spec.workers.template.spec.env}
    return [
        *(variable for variable in ours if variable["name"] not in theirs),
        *(variable.model_dump(mode="json", by_alias=True, exclude_none=True) for variable in theirs.values()),
    ]


def manifest_text(job: TranscriptionJob) -> str:
    """The job as the worker's `load_manifest` reads it: one line of JSON, without status and without the template.

    The template is Kubernetes' business, and the longest part of a spec. All is ASCII, whatever the locale of the image
    is, and no `$` stands in it, for Kubernetes would replace `$(HOME)` and turn `$$` into `$`.
    """
    spec = job.spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"workers": {"template"}})
    metadata = {"name": job.metadata.name, "namespace": job.metadata.namespace, "uid": job.metadata.uid}
    manifest = {"apiVersion": job.api_version, "kind": job.kind, "metadata": metadata, "spec": spec}
    return json.dumps(manifest, separators=(",", ":")).replace("$", "\\u0024")


def _common(job: TranscriptionJob, home: str) -> list[Variable]:
    """What every container gets. TMPDIR catches what libraries write before the worker gives them a place of their own.

    The cache is named where it is not mounted too: its default lies in HOME, and a cache in scratch would be swept.
    """
    return [
        {"name": constants.JOB_VARIABLE, "value": _fitting(manifest_text(job))},
        {"name": constants.SCRATCH_VARIABLE, "value": constants.SCRATCH_PATH},
        {"name": constants.CACHE_VARIABLE, "value": constants.CACHE_PATH},
        {"name": "HOME", "value": home},
        {"name": "TMPDIR", "value": constants.SCRATCH_PATH},
        {
            "name": constants.POD_NAME_VARIABLE,
            "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}},
        },
        *_store(job),
    ]


def _fitting(text: str) -> str:
    size = len(f"{constants.JOB_VARIABLE}={text}".encode()) + 1
    if size > _LONGEST_STRING:
        raise ManifestTooLargeError(
            f"The spec has {size} bytes and a pod takes {_LONGEST_STRING}: shorten spec.input.include and exclude, or "
            "list the recordings in an object and name it as spec.input.manifest."
        )
    return text


def _store(job: TranscriptionJob) -> list[Variable]:
    """Credentials as boto3's default chain finds them, and whom to trust. Region and endpoint are in the manifest."""
    storage = job.spec.storage
    variables: list[Variable] = []
    if storage.credentials_secret is not None:
        secret = storage.credentials_secret.name
        variables += [
            _from_secret(secret, "AWS_ACCESS_KEY_ID"),
            _from_secret(secret, "AWS_SECRET_ACCESS_KEY"),
            _from_secret(secret, "AWS_SESSION_TOKEN", optional=True),
        ]
    if storage.ca_bundle is not None and storage.ca_bundle.config_map_name is not None:
        path = f"{constants.CA_BUNDLE_PATH}/{constants.CA_BUNDLE_FILE}"
        variables.append({"name": "AWS_CA_BUNDLE", "value": path})
    return variables


def _from_secret(secret: str, key: str, *, optional: bool = False) -> Variable:
    reference: dict[str, Any] = {"name": secret, "key": key}
    if optional:
        reference["optional"] = True
    return {"name": key, "valueFrom": {"secretKeyRef": reference}}
