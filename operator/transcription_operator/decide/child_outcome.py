"""What a child that ended has to say: the summary of a good end, the sentence of a bad one."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from transcription_api.names import Component, ConditionReason, Phase
from transcription_operator.constants import FATAL_EXIT_CODES
from transcription_operator.decide.step import Step
from transcription_operator.observed import ChildJob, Observed, Outcome, Pod
from transcription_operator.said import json_object

SETTLE_SECONDS = 5.0
"""A Job's end and its pod's last words come by different watches: so long one waits for the other."""

POD_FAILURE_POLICY = "PodFailurePolicy"
"""The reason that a Job carries when a rule of its podFailurePolicy ended it (KEP-3329): here exit 2 or 78."""

OUT_OF_MEMORY = "OOMKilled"
"""The reason that the kubelet gives a container that the kernel killed for its memory."""

LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ \S+: ")
"""How a line of the worker's log begins (`LOG_FORMAT` of its `log_lines.py`)."""


def unheard(child: ChildJob, seen: Observed, now: datetime) -> float | None:
    """Seconds to wait for the last words of a child that has just ended; None when they are there or overdue."""
    if last_words(child, seen) is not None or child.ended is None:
        return None
    left = SETTLE_SECONDS - (now - child.ended).total_seconds()
    if left <= 0 and any(pod.phase not in ("Succeeded", "Failed") and not pod.deleting for pod in seen.pods_of(child)):
        # A Job ends after its pods: one that is still seen at work is news from before this operator stood still.
        return SETTLE_SECONDS
    return left if left > 0 else None


def last_words(child: ChildJob, seen: Observed) -> Pod | None:
    """The pod that decided how the child ended."""
    wanted = "Succeeded" if child.outcome is Outcome.COMPLETE else "Failed"
    pods = [pod for pod in seen.pods_of(child) if pod.phase == wanted and pod.ended is not None]
    if child.reason == POD_FAILURE_POLICY:
        pods = [pod for pod in pods if pod.ended and pod.ended.exit_code in FATAL_EXIT_CODES] or pods
    return max(pods, key=_ended_at, default=None)


def summary(child: ChildJob, seen: Observed) -> dict[str, Any] | None:
    """The JSON that a pod left as its termination message; None when it cannot be had any more."""
    pod = last_words(child, seen)
    if pod is None or pod.ended is None:
        return None
    return json_object(pod.ended.message)


def sentence(child: ChildJob, seen: Observed) -> str:
    """Why a child failed: what its pod said last, else what Kubernetes says about the Job."""
    pod = last_words(child, seen)
    if pod is None or pod.ended is None:
        return child.message or f"Job {child.name} failed."
    ended = pod.ended
    if ended.reason == OUT_OF_MEMORY:
        return f"Container {ended.container} of pod {pod.name} was killed for lack of memory: {_more_memory(child)}."
    # A container that said nothing leaves the end of its log: where the last line is none of the log's, it is the
    # reason (a fault of the image, of a native library); what the log did last is none.
    line = ended.message.strip().rsplit("\n", 1)[-1].strip()
    if line and not LOG_LINE.match(line):
        return line
    return f"Container {ended.container} of pod {pod.name} ended with exit code {ended.exit_code}."


def _more_memory(child: ChildJob) -> str:
    if child.component is Component.WORK:
        return "raise spec.workers.resources.limits.memory, delete the job and apply it again"
    return "raise worker.controlResources.limits.memory in the values of the operator's chart"


def failure_reason(child: ChildJob, otherwise: ConditionReason) -> ConditionReason:
    return ConditionReason.CONFIGURATION if child.reason == POD_FAILURE_POLICY else otherwise


def listening(phase: Phase, reason: ConditionReason, child: ChildJob, seconds: float) -> Step:
    """The child has ended, and its last words are on the way."""
    return Step(phase=phase, reason=reason, message=f"Job {child.name} has ended.", look_again=seconds)


def _ended_at(pod: Pod) -> float:
    return pod.ended.at.timestamp() if pod.ended is not None and pod.ended.at is not None else 0.0
