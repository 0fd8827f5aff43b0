"""When a child that has ended is heard: its pod's last words come by another watch, and may come late."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from transcription_api.names import Component
from transcription_operator.decide.child_outcome import SETTLE_SECONDS, unheard
from transcription_operator.observed import ChildJob, Ended, Observed, Outcome, Pod

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
LONG_AFTER = NOON + timedelta(minutes=5)
POD = Pod(name="calls-report-x", uid="p", owner_uid="r", component=Component.REPORT, phase="Running")
SAID = Ended(container="report", exit_code=0, message="{}", at=NOON)


REPORT = ChildJob(
    component=Component.REPORT,
    name="calls-report",
    uid="r",
    owner_uid="j",
    version=1,
    created=NOON,
    outcome=Outcome.COMPLETE,
    ended=NOON,
)


def test_a_pod_that_is_still_seen_at_work_is_waited_for_however_long_ago_its_job_ended():
    seen = Observed(report=REPORT, pods=(POD,))
    assert unheard(REPORT, seen, LONG_AFTER) == SETTLE_SECONDS
    heard = Observed(report=REPORT, pods=(replace(POD, phase="Succeeded", ended=SAID),))
    assert unheard(REPORT, heard, LONG_AFTER) is None


def test_a_pod_that_is_gone_or_going_is_not_waited_for_any_longer():
    for pods in ((), (replace(POD, deleting=True),)):
        seen = Observed(report=REPORT, pods=pods)
        assert unheard(REPORT, seen, NOON + timedelta(seconds=1)) == SETTLE_SECONDS - 1
        assert unheard(REPORT, seen, LONG_AFTER) is None
