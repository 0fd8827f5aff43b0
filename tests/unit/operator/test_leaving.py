"""A namespace that is going: its Jobs go too, whatever else there would be to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.operator_scenes import NOW, PLANNING, REPORTING, WORKING, job
from transcription_api.names import Component
from transcription_operator.decide import decide
from transcription_operator.decide.actions import Delete
from transcription_operator.observed import Observed


@pytest.mark.parametrize(
    ("seen", "going"),
    [
        (Observed(), ()),
        (PLANNING, (Component.PLAN,)),
        (WORKING, (Component.PLAN, Component.WORK)),
        (REPORTING, (Component.PLAN, Component.WORK, Component.REPORT)),
    ],
)
@pytest.mark.parametrize("spec", [{}, {"suspend": True}, {"activeDeadlineSeconds": 1}])
def test_jobs_of_a_namespace_that_is_going_are_deleted_and_none_is_made(seen, going, spec):
    decision = decide(job(**spec), replace(seen, namespace_going=True), NOW)
    assert decision.actions == tuple(Delete(component) for component in going)
    assert decision.status.conditions == ()


def test_what_is_being_deleted_is_not_deleted_again():
    assert WORKING.work is not None
    seen = replace(WORKING, work=replace(WORKING.work, deleting=True), namespace_going=True)
    assert decide(job(), seen, NOW).actions == (Delete(Component.PLAN),)
