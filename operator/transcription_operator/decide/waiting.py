"""What keeps a child from running, as a sentence: a refusal of the API server, a Secret or claim that is missing."""

from __future__ import annotations

from dataclasses import replace

from transcription_api.names import Component, ConditionReason, Phase
from transcription_operator.decide.actions import Create
from transcription_operator.decide.step import Step, failed
from transcription_operator.observed import ChildJob, Observed


def refused(seen: Observed, component: Component, phase: Phase) -> Step | None:
    """The API server did not take the child: for good, or until a quota or policy lets it."""
    refusal = seen.refusal
    if refusal is None or refusal.component is not component:
        return None
    if refusal.final:
        return failed(ConditionReason.CONFIGURATION, refusal.message)
    return Step(phase=phase, reason=ConditionReason.REFUSED, message=refusal.message, actions=(Create(component),))


_AT_WORK = {Component.PLAN: Phase.PLANNING, Component.WORK: Phase.RUNNING, Component.REPORT: Phase.REPORTING}


def with_refused_change(step: Step, seen: Observed) -> Step:
    """A child that may be neither suspended, resumed nor scaled is as it was, whatever the spec says by now."""
    refusal = seen.refusal
    child = seen.child(refusal.component) if refusal is not None else None
    if refusal is None or child is None or step.verdict is not None:
        return step
    phase = Phase.SUSPENDED if child.suspended else _AT_WORK[refusal.component]
    return replace(step, phase=phase, reason=ConditionReason.REFUSED, message=refusal.message)


def obstacle(child: ChildJob, seen: Observed) -> str:
    """Why pods of a running child do not start; empty when all is well."""
    pods = seen.pods_of(child)
    blocked = next((pod.blocked for pod in pods if pod.blocked and not pod.deleting), "")
    return blocked or (seen.trouble if not any(pod.phase == "Running" for pod in pods) else "")
