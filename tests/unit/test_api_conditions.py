"""Conditions change without noise."""

from __future__ import annotations

from transcription_api.conditions import Condition, find_condition, is_true, set_condition
from transcription_api.names import ConditionReason, ConditionType

PLANNED = set_condition(
    (),
    ConditionType.PLANNED,
    holds=False,
    reason=ConditionReason.PLANNING,
    message="listing",
    now="2026-01-01T00:00:00Z",
    generation=1,
)


def changed(holds: bool, now: str) -> tuple[Condition, ...]:
    return set_condition(
        PLANNED, ConditionType.PLANNED, holds=holds, reason=ConditionReason.PLAN_WRITTEN, message="3 shards", now=now
    )


def test_transition_time_stays_while_the_status_stays() -> None:
    (condition,) = changed(False, "2026-01-02T00:00:00Z")
    assert condition.last_transition_time == "2026-01-01T00:00:00Z"
    assert condition.reason == "PlanWritten"


def test_transition_time_moves_with_the_status() -> None:
    (condition,) = changed(True, "2026-01-02T00:00:00Z")
    assert condition.last_transition_time == "2026-01-02T00:00:00Z"
    assert is_true((condition,), ConditionType.PLANNED)


def test_other_conditions_stay_where_they_are() -> None:
    both = set_condition(
        PLANNED,
        ConditionType.COMPLETE,
        holds=True,
        reason=ConditionReason.COMPLETED,
        message="",
        now="2026-01-03T00:00:00Z",
    )
    assert [condition.type for condition in both] == ["Planned", "Complete"]
    assert find_condition(both, ConditionType.PLANNED) == PLANNED[0]
    assert find_condition(both, ConditionType.FAILED) is None
    assert not is_true(both, ConditionType.PLANNED)
