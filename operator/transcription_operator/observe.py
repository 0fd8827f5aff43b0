"""From Kubernetes objects to plain data: the only place that knows where in a Job or a pod a fact stands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from transcription_api.names import LABEL_COMPONENT, LABEL_QUEUE_NAME, Component
from transcription_operator.constants import SWEEP
from transcription_operator.observed import ChildJob, Ended, Outcome, Pod
from transcription_operator.said import text

Body = Mapping[str, Any]

INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"
_INDEX = re.compile("[0-9]{1,9}")
_PULL_FAULTS = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"}
_START_FAULTS = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CreatePodSandboxError"}


def observe_child(body: Body) -> ChildJob | None:
    """A child Job, or None where its labels or owner say that it is none."""
    meta, spec, status = body["metadata"], body.get("spec", {}), body.get("status", {})
    component, owner = _component(meta), _owner(meta)
    if component is None or owner is None:
        return None
    ending = _ending(status)
    outcome, condition = ending if ending else (None, {})
    return ChildJob(
        component=component,
        name=meta["name"],
        uid=meta["uid"],
        version=int(meta["resourceVersion"]),
        owner_uid=owner,
        created=parse_time(meta["creationTimestamp"]),
        parallelism=spec.get("parallelism", 1),
        suspended=bool(spec.get("suspend")),
        queued=LABEL_QUEUE_NAME in meta.get("labels", {}),
        active=status.get("active", 0),
        ready=status.get("ready", 0),
        succeeded=status.get("succeeded", 0),
        failed=_count_indexes(status["failedIndexes"]) if "failedIndexes" in status else status.get("failed", 0),
        outcome=outcome,
        reason=condition.get("reason", ""),
        message=condition.get("message", ""),
        ended=parse_time(condition["lastTransitionTime"]) if "lastTransitionTime" in condition else None,
        deleting="deletionTimestamp" in meta,
    )


def observe_pod(body: Body) -> Pod | None:
    """A pod of a child Job, or None where its labels or owner say that it is none."""
    meta, status = body["metadata"], body.get("status", {})
    component, owner = _component(meta), _owner(meta)
    if component is None or owner is None:
        return None
    phase = status.get("phase", "Pending")
    return Pod(
        name=meta["name"],
        uid=meta["uid"],
        owner_uid=owner,
        component=component,
        version=int(meta["resourceVersion"]),
        index=_index(meta),
        phase=phase,
        ip=status.get("podIP"),
        ready=_condition(status, "Ready").get("status") == "True",
        deleting="deletionTimestamp" in meta,
        ended=_ended(status, component, phase) if phase in ("Succeeded", "Failed") else None,
        blocked=_blocked(meta["name"], status) if phase == "Pending" else "",
        starting_since=_starting_since(status) if phase == "Pending" else None,
    )


def parse_time(moment: str) -> datetime:
    """RFC 3339, as Kubernetes writes it."""
    return datetime.fromisoformat(moment.upper().replace("Z", "+00:00"))


def _component(meta: Body) -> Component | None:
    try:
        return Component(meta.get("labels", {}).get(LABEL_COMPONENT, ""))
    except ValueError:
        return None


def _owner(meta: Body) -> str | None:
    return next((owner["uid"] for owner in meta.get("ownerReferences", ()) if owner.get("controller")), None)


def _index(meta: Body) -> int | None:
    """Of a worker's pod. On the pods of plan and report the annotation is whatever the job's template says it is."""
    written = meta.get("annotations", {}).get(INDEX_ANNOTATION, "")
    return int(written) if _INDEX.fullmatch(written) else None


def _condition(status: Body, kind: str) -> Body:
    return next((c for c in status.get("conditions", ()) if c["type"] == kind), {})


def _ending(status: Body) -> tuple[Outcome, Body] | None:
    for condition in status.get("conditions", ()):
        if condition["status"] == "True" and condition["type"] in ("Complete", "Failed"):
            return Outcome(condition["type"].lower()), condition
    return None


def _count_indexes(listed: str) -> int:
    """`1,3-5` is four indexes (batch/v1 JobStatus.failedIndexes)."""
    count = 0
    for part in filter(None, listed.split(",")):
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    return count


def _containers(status: Body) -> Iterator[Body]:
    yield from status.get("initContainerStatuses", ())
    yield from status.get("containerStatuses", ())


def _ended(status: Body, component: Component, phase: str) -> Ended | None:
    """Who speaks for a pod that has ended: of our containers the one that failed, else the main one; then others.

    A sidecar (a service mesh's, a secret agent's) may end as it likes and says nothing about the job.
    """
    ended = [one for one in map(_terminated, _containers(status)) if one is not None]
    ours = [one for one in ended if one.container in (component.value, SWEEP)]
    main = [one for one in ours if one.container == component.value]
    if phase == "Succeeded":
        return next(iter(main), None)
    return next((one for one in [*ours, *ended] if one.exit_code), next(iter(main), None))


def _terminated(container: Body) -> Ended | None:
    terminated = container.get("state", {}).get("terminated")
    if terminated is None:
        return None
    at = terminated.get("finishedAt")
    return Ended(
        container["name"],
        terminated.get("exitCode", 0),
        terminated.get("message", "") or "",
        parse_time(at) if at else None,
        terminated.get("reason", ""),
    )


def _blocked(name: str, status: Body) -> str:
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return text(f"Pod {name} waits for a node: {scheduled.get('message', '')}")
    for container in _containers(status):
        waiting = container.get("state", {}).get("waiting", {})
        reason = waiting.get("reason", "")
        if reason in _PULL_FAULTS:
            # The kubelet's own text changes between attempts; the image does not.
            image = container.get("image")
            return text(f"Pod {name}: image {image} cannot be pulled; check its name and imagePullSecrets.")
        if reason in _START_FAULTS:
            return text(f"Pod {name} cannot start ({reason}): {waiting.get('message', '')}")
    return ""


def _starting_since(status: Body) -> datetime | None:
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("status") != "True" or "lastTransitionTime" not in scheduled:
        return None
    return parse_time(scheduled["lastTransitionTime"])
