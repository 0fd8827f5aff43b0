"""Why a child does not come to life when neither its Job nor its pods say so: the warnings that Kubernetes filed.

A Job whose pods are refused (quota, Pod Security, no such ServiceAccount) and a pod whose volume is missing say so in
events alone. They are read only when something has been standing still for a while.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from transcription_operator.kube import Kube, Missing, Rejected
from transcription_operator.observed import ChildJob, Observed, Pod

NO_POD_SECONDS = 5.0
NOT_STARTED_SECONDS = 20.0
MAX_MESSAGE = 1024


class TroubleReader:
    """Reads the events of what stands still, each at most once per `every` seconds. Blocking."""

    def __init__(self, kube: Kube, every: float) -> None:
        self._kube, self._every = kube, every
        self._read: dict[str, tuple[datetime, str]] = {}

    def about(self, namespace: str, seen: Observed, now: datetime) -> str:
        """A sentence; empty when nothing stands still or nothing is said about it."""
        still = list(standing_still(seen, now))
        for uid, (at, _) in list(self._read.items()):  # other threads read for other jobs
            if (now - at).total_seconds() > 10 * self._every:
                self._read.pop(uid, None)
        for uid, name in still:
            if text := self._about(namespace, uid, now):
                return f"{name}: {text}"[:MAX_MESSAGE]
        return ""

    def _about(self, namespace: str, uid: str, now: datetime) -> str:
        at, text = self._read.get(uid, (None, ""))
        if at is None or (now - at).total_seconds() >= self._every:
            try:
                warnings = self._kube.warnings_about(namespace, uid)
            except (Missing, Rejected):
                warnings = []
            text = str(warnings[-1].get("message", "")) if warnings else ""
            self._read[uid] = (now, text)
        return text


def standing_still(seen: Observed, now: datetime) -> Iterator[tuple[str, str]]:
    """UID and name of what should have gone on by now."""
    for child in seen.children:
        if child.outcome is not None or child.suspended or child.deleting:
            continue
        pods = seen.pods_of(child)
        if not pods and _seconds(child, now) > NO_POD_SECONDS:
            yield child.uid, f"Job {child.name} has no pod"
        for pod in pods:
            if _waits(pod, now):
                yield pod.uid, f"Pod {pod.name} does not start"


def _seconds(child: ChildJob, now: datetime) -> float:
    return (now - child.created).total_seconds()


def _waits(pod: Pod, now: datetime) -> bool:
    since = pod.starting_since
    return since is not None and not pod.blocked and (now - since).total_seconds() > NOT_STARTED_SECONDS
