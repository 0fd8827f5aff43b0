"""What the operator has seen of one job, as plain data: the children, their pods, what the workers say. No effects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from transcription_api.names import Component


class Outcome(StrEnum):
    """How a child Job ended."""

    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildJob:
    """A batch/v1 Job of a TranscriptionJob.

    Attributes:
        version: metadata.resourceVersion.
        owner_uid: of the TranscriptionJob.
        queued: whether Kueue admits it, so that `suspend` is not ours to write.
        active, ready: pods.
        succeeded, failed: worker indexes, or pods of a Job without indexes.
        reason, message: of the condition that ended it.
    """

    component: Component
    name: str
    uid: str
    version: int
    owner_uid: str
    created: datetime
    parallelism: int = 1
    suspended: bool = False
    queued: bool = False
    active: int = 0
    ready: int = 0
    succeeded: int = 0
    failed: int = 0
    outcome: Outcome | None = None
    reason: str = ""
    message: str = ""
    ended: datetime | None = None
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """A container that has ended; `message` is its termination message, `reason` the kubelet's word for its end."""

    container: str
    exit_code: int
    message: str
    at: datetime | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod of a child Job.

    Attributes:
        owner_uid: of the batch Job.
        ended: the container that made the pod fail, or its main container when it ended well.
        blocked: why it cannot start, as a sentence; empty when nothing is known to be in its way.
        starting_since: when it began to wait for volumes and images, None once it runs or is not yet placed.
    """

    name: str
    uid: str
    owner_uid: str
    component: Component
    index: int | None = None
    phase: str = "Pending"
    version: int = 0
    ip: str | None = None
    ready: bool = False
    deleting: bool = False
    ended: Ended | None = None
    blocked: str = ""
    starting_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """How far the job is, as its workers say.

    `speed` in seconds of audio per second; `bytes` of the `total_bytes` of all `recordings` are settled.
    """

    done: int = 0
    skipped: int = 0
    failed: int = 0
    audio_seconds: float = 0.0
    recordings: int = 0
    bytes: int = 0
    total_bytes: int = 0
    speed: float | None = None
    model_digest: str | None = None
    failures: tuple[tuple[str, str, str], ...] = ()
    """key, reason, message"""

    @property
    def settled(self) -> int:
        return self.done + self.skipped + self.failed


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the API server said to the last attempt to make a child. `final`: no attempt can succeed."""

    component: Component
    message: str
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One job's surroundings at one moment."""

    plan: ChildJob | None = None
    work: ChildJob | None = None
    report: ChildJob | None = None
    pods: tuple[Pod, ...] = ()
    totals: Totals | None = None
    refusal: Refusal | None = None
    trouble: str = ""
    """What events say about a child that does not come to life."""
    namespace_going: bool = False

    def child(self, component: Component) -> ChildJob | None:
        return {Component.PLAN: self.plan, Component.WORK: self.work, Component.REPORT: self.report}[component]

    @property
    def children(self) -> tuple[ChildJob, ...]:
        return tuple(child for child in (self.plan, self.work, self.report) if child is not None)

    def pods_of(self, child: ChildJob) -> tuple[Pod, ...]:
        return tuple(pod for pod in self.pods if pod.owner_uid == child.uid)
