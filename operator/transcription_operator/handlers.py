"""Everything that kopf calls: what is watched, what wakes a pass, start and stop. A few lines each.

Indices and `on.event` put neither finalizer nor annotation on anything (timers, daemons and `on.create` would), so that
deleting a job never hangs and the operator may be away at any time.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import kopf

from transcription_api.names import GROUP, LABEL_JOB, PLURAL, VERSION
from transcription_operator.observe import observe_child, observe_pod
from transcription_operator.observed import ChildJob, Pod
from transcription_operator.operation import Operation
from transcription_operator.world import Key, Record

CHILD = {LABEL_JOB: kopf.PRESENT}


def register(registry: kopf.OperatorRegistry, operation: Operation) -> None:
    """Put the handlers of one operation into a registry of its own."""

    @kopf.on.startup(registry=registry)
    async def start(settings: kopf.OperatorSettings, **indices: Any) -> None:
        configure(settings)
        await operation.start(indices["records"], indices["children"], indices["pods"])

    @kopf.on.cleanup(registry=registry)
    async def stop(**_: Any) -> None:
        await operation.stop()

    @kopf.on.login(registry=registry)
    def login(**given: Any) -> kopf.ConnectionInfo | None:
        return _in_cluster(kopf.login_with_service_account(**given)) or kopf.login_with_kubeconfig(**given)

    @kopf.index(GROUP, VERSION, PLURAL, id="records", registry=registry)
    def records(body: kopf.Body, **_: Any) -> dict[Key, Record]:
        record = Record.of(body)
        return {(record.namespace, record.name): record}

    @kopf.index("batch", "v1", "jobs", id="children", labels=CHILD, registry=registry)
    def children(body: kopf.Body, **_: Any) -> dict[Key, ChildJob] | None:
        child = observe_child(body)
        return {_owner_key(body): child} if child else None

    @kopf.index("v1", "pods", id="pods", labels=CHILD, registry=registry)
    def pods(body: kopf.Body, **_: Any) -> dict[Key, Pod] | None:
        pod = observe_pod(body)
        return {_owner_key(body): pod} if pod else None

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def job_changed(body: kopf.Body, type: str, **_: Any) -> None:
        key = (body["metadata"]["namespace"], body["metadata"]["name"])
        if type == "DELETED":
            operation.forget(key)
        else:
            operation.wake(key)

    @kopf.on.event("batch", "v1", "jobs", labels=CHILD, registry=registry)
    @kopf.on.event("v1", "pods", labels=CHILD, registry=registry)
    async def child_changed(body: kopf.Body, **_: Any) -> None:
        operation.wake(_owner_key(body))


def configure(settings: kopf.OperatorSettings) -> None:
    """Ours alone, and nothing of kopf's own on any object."""
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.networking.enforce_retry_after = True
    settings.persistence.finalizer = f"{GROUP}/unused"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    for resource in ("jobs", "pods"):  # the API server picks; other people's pods never come here
        settings.watching.label_selectors[resource] = LABEL_JOB


def _in_cluster(found: kopf.ConnectionInfo | None) -> kopf.ConnectionInfo | None:
    """By the address that every pod is given, as other clients do: kopf's own name for it needs the cluster's DNS."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if found is None or not host:
        return found
    return dataclasses.replace(found, server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}")


def _owner_key(body: kopf.Body) -> Key:
    return body["metadata"]["namespace"], body["metadata"]["labels"][LABEL_JOB]
