"""A node without a kubelet: pods that are placed on it end at once, at the cost of one request each.

Everything else is real: API server, controllers, scheduler and the operator do with 900 such pods what they do with 900
others, on a machine that could start two or three of them a second. (The idea is kubemark's hollow node.)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from kubernetes import client, watch

from transcription_api.names import LABEL_COMPONENT

NAME = "hollow"
LABEL = {"transcription-operator.io/hollow": "true"}
PLACEMENT = {
    "nodeSelector": LABEL,
    "tolerations": [{"key": "transcription-operator.io/hollow", "operator": "Exists"}],
}
"""Fields of a pod's spec that bring it here, and no other pod."""
_RENEW_SECONDS = 10.0
_THREADS = 8


@contextmanager
def hollow_node(api: client.ApiClient, said: Mapping[str, str]) -> Iterator[None]:
    """The node, for the length of the block. `said`: the termination message of a pod, by its component label."""
    core, ended = client.CoreV1Api(api), threading.Event()
    with suppress(client.ApiException):
        core.delete_node(NAME)
    core.create_node(_node())
    core.patch_node_status(NAME, {"status": _status()})
    threads = [
        threading.Thread(target=_renew, args=(api, ended)),
        threading.Thread(target=_end_pods, args=(core, said, ended)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        core.delete_node(NAME)


def _node() -> dict[str, Any]:
    taint = {"key": "transcription-operator.io/hollow", "value": "true", "effect": "NoSchedule"}
    return {"metadata": {"name": NAME, "labels": LABEL}, "spec": {"taints": [taint]}}


def _status() -> dict[str, Any]:
    room = {"cpu": "10k", "memory": "100Ti", "pods": "10k", "ephemeral-storage": "100Ti"}
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Hollow",
        "lastHeartbeatTime": _now(),
        "lastTransitionTime": _now(),
    }
    return {"capacity": room, "allocatable": room, "conditions": [ready]}


def _renew(api: client.ApiClient, ended: threading.Event) -> None:
    """The heartbeat that the node controller looks for."""
    leases = client.CoordinationV1Api(api)
    place = "kube-node-lease"
    spec = {"holderIdentity": NAME, "leaseDurationSeconds": 40}
    with suppress(client.ApiException):
        leases.delete_namespaced_lease(NAME, place)
    leases.create_namespaced_lease(place, {"metadata": {"name": NAME}, "spec": {**spec, "renewTime": _now(micro=True)}})
    while not ended.wait(_RENEW_SECONDS):
        leases.patch_namespaced_lease(NAME, place, {"spec": {"renewTime": _now(micro=True)}})
    leases.delete_namespaced_lease(NAME, place)


def _end_pods(core: client.CoreV1Api, said: Mapping[str, str], ended: threading.Event) -> None:
    seen: set[str] = set()
    with ThreadPoolExecutor(_THREADS) as pool:
        while not ended.is_set():
            here = {"field_selector": f"spec.nodeName={NAME}", "timeout_seconds": 2}
            for event in watch.Watch().stream(core.list_pod_for_all_namespaces, **here):
                pod = event["object"]
                if pod.metadata.deletion_timestamp is not None:
                    pool.submit(_remove, core, pod)
                elif pod.status.phase == "Pending" and pod.metadata.uid not in seen:
                    seen.add(pod.metadata.uid)
                    pool.submit(_end, core, pod, said)
                if ended.is_set():
                    break


def _end(core: client.CoreV1Api, pod: client.V1Pod, said: Mapping[str, str]) -> None:
    message = said.get((pod.metadata.labels or {}).get(LABEL_COMPONENT, ""), "")
    moment = _now()
    terminated = {"exitCode": 0, "message": message, "startedAt": moment, "finishedAt": moment, "reason": "Completed"}
    statuses = [
        {"name": one.name, "image": one.image, "imageID": "", "ready": False, "restartCount": 0}
        | {"state": {"terminated": terminated}}
        for one in pod.spec.containers
    ]
    status = {"phase": "Succeeded", "startTime": moment, "containerStatuses": statuses}
    with suppress(client.ApiException):  # it has been deleted meanwhile
        core.patch_namespaced_pod_status(pod.metadata.name, pod.metadata.namespace, {"status": status})


def _remove(core: client.CoreV1Api, pod: client.V1Pod) -> None:
    with suppress(client.ApiException):
        core.delete_namespaced_pod(pod.metadata.name, pod.metadata.namespace, grace_period_seconds=0)


def _now(*, micro: bool = False) -> str:
    return datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")
