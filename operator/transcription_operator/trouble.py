"""Why a child does not come to life when neither its Job nor its pods say so: the warnings that Kubernetes filed.

A Job whose pods are refused (quota, Pod Security, no such ServiceAccount) and a pod whose volume is missing say so in
events alone. They are read only when something has been standing still for a while.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from transcription_operator.kube import Kube, Missing, Rejected
from transcription_operator.observe import parse_time
from transcription_operator.observed import ChildJob, Observed, Pod
from transcription_operator.said import text

NO_POD_SECONDS = 5.0
NOT_STARTED_SECONDS = 20.0
AT_MOST = 3
"""Whatever keeps a thousand pods waiting, the first few say it."""


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
        for uid, name, since in still[:AT_MOST]:
            if said := self._about(namespace, uid, since, now):
                return text(f"{name}: {said}")
        return ""

    def _about(self, namespace: str, uid: str, since: datetime, now: datetime) -> str:
        at, said = self._read.get(uid, (None, ""))
        if at is None or (now - at).total_seconds() >= self._every:
            try:
                warnings = self._kube.warnings_about(namespace, uid)
            except (Missing, Rejected):
                warnings = []
            current = [warning for warning in warnings if _is_since(warning, since)]
            said = str(current[-1].get("message", "")) if current else ""
            self._read[uid] = (now, said)
        return said


def _is_since(warning: dict[str, Any], since: datetime) -> bool:
    """What was in the way before the pod had its node is in the way no more."""
    seen = warning.get("lastTimestamp") or warning.get("eventTime")
    return isinstance(seen, str) and parse_time(seen) >= since.replace(microsecond=0)


def standing_still(seen: Observed, now: datetime) -> Iterator[tuple[str, str, datetime]]:
    """UID and name of what should have gone on by now, and since when it stands."""
    for child in seen.children:
        if child.outcome is not None or child.suspended or child.deleting:
            continue
        pods = seen.pods_of(child)
        if not pods and _seconds(child, now) > NO_POD_SECONDS:
            yield child.uid, f"Job {child.name} has no pod", child.created
        for pod in pods:
            if pod.starting_since is not None and _waits(pod, pod.starting_since, now):
                yield pod.uid, f"Pod {pod.name} does not start", pod.starting_since


def _seconds(child: ChildJob, now: datetime) -> float:
    return (now - child.created).total_seconds()


def _waits(pod: Pod, since: datetime, now: datetime) -> bool:
    return not pod.blocked and (now - since).total_seconds() > NOT_STARTED_SECONDS
