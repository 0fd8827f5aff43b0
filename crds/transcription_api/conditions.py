"""Conditions of a job (API conventions, "Typical status properties"): reading them, and changing one without noise."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import ConfigDict, Field

from transcription_api.base import ApiModel
from transcription_api.names import ConditionReason, ConditionType


class Condition(ApiModel):
    """One observation about the job."""

    model_config = ConfigDict(extra="ignore")

    type: str = Field(
        min_length=1,
        max_length=316,
        description="`Planned`, `Suspended`, `Complete` or `Failed`.",
        examples=["Complete"],
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(
        max_length=128,
        pattern=r"^[A-Za-z][A-Za-z0-9]*$",
        description="Why, as one word of a fixed list.",
        examples=["CompletedWithFailures"],
    )
    message: str = Field("", max_length=4096, description="Why, as a sentence for people.")
    last_transition_time: str = Field(
        max_length=40, description="When `status` changed last (RFC 3339).", json_schema_extra={"format": "date-time"}
    )
    observed_generation: int | None = Field(None, ge=0, description="Generation of the spec that this was said about.")


def find_condition(conditions: Iterable[Condition], wanted: ConditionType) -> Condition | None:
    return next((condition for condition in conditions if condition.type == wanted), None)


def is_true(conditions: Iterable[Condition], wanted: ConditionType) -> bool:
    condition = find_condition(conditions, wanted)
    return condition is not None and condition.status == "True"


def set_condition(
    conditions: Iterable[Condition],
    kind: ConditionType,
    *,
    holds: bool,
    reason: ConditionReason,
    message: str,
    now: str,
    generation: int | None = None,
) -> tuple[Condition, ...]:
    """The conditions with this one replaced or added at the end.

    Args:
        now: RFC 3339 UTC; becomes `lastTransitionTime` only where the status changes.
        generation: `metadata.generation` of the spec that was looked at.
    """
    kept = tuple(conditions)
    before = find_condition(kept, kind)
    status: Literal["True", "False"] = "True" if holds else "False"
    after = Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        last_transition_time=before.last_transition_time if before is not None and before.status == status else now,
        observed_generation=generation,
    )
    if before is None:
        return (*kept, after)
    return tuple(after if condition.type == kind else condition for condition in kept)
