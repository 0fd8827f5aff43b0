"""Where a job stands after one look: what every policy answers with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from transcription_api.job import TranscriptionJob
from transcription_api.names import ConditionReason, Phase
from transcription_operator.decide.actions import Action
from transcription_operator.observed import Observed


class Verdict(StrEnum):
    """How a TranscriptionJob ended."""

    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one policy found.

    Attributes:
        message: a sentence for people.
        verdict: set when the job has ended.
        look_again: seconds until something changes by the clock alone.
        summary: what the report says, once it does.
    """

    phase: Phase
    reason: ConditionReason
    message: str
    actions: tuple[Action, ...] = ()
    verdict: Verdict | None = None
    look_again: float | None = None
    summary: dict[str, Any] = field(default_factory=dict)


Policy = Callable[[TranscriptionJob, Observed, datetime], Step | None]
"""None: this policy has nothing to say, the next one may."""


def failed(reason: ConditionReason, message: str, **fields: Any) -> Step:
    return Step(phase=Phase.FAILED, reason=reason, message=message, verdict=Verdict.FAILED, **fields)
