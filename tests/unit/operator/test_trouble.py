"""What stands still, and what its events say about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.operator_scenes import NOW, PLAN_DONE, PLAN_RUNS, WORK_RUNS, child, pod
from transcription_api.names import Component
from transcription_operator.kube import Missing, Rejected, Unavailable
from transcription_operator.observed import Observed
from transcription_operator.trouble import AT_MOST, NO_POD_SECONDS, NOT_STARTED_SECONDS, TroubleReader, standing_still

PLAN = Component.PLAN
JUST_MADE = child(PLAN, age=NO_POD_SECONDS - 1)
NO_POD = Observed(plan=PLAN_RUNS)


def starting(seconds: float, of=PLAN_RUNS, **fields):
    return pod(of, "Pending", starting_since=NOW - timedelta(seconds=seconds), **fields)


def after(seconds: float):
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("seen", "names"),
    [
        (NO_POD, ["Job calls-plan has no pod"]),
        (Observed(plan=JUST_MADE), []),
        (Observed(plan=replace(PLAN_RUNS, suspended=True)), []),
        (Observed(plan=replace(PLAN_RUNS, deleting=True)), []),
        (Observed(plan=PLAN_DONE), []),
        (Observed(plan=PLAN_RUNS, pods=(pod(PLAN_RUNS, "Running"),)), []),
        (Observed(plan=PLAN_RUNS, pods=(pod(PLAN_RUNS, "Pending"),)), []),  # not placed: its condition says why
        (Observed(plan=PLAN_RUNS, pods=(starting(NOT_STARTED_SECONDS - 1),)), []),
        (Observed(plan=PLAN_RUNS, pods=(starting(NOT_STARTED_SECONDS + 1),)), ["Pod calls-plan-x1y2z does not start"]),
        (Observed(plan=PLAN_RUNS, pods=(starting(NOT_STARTED_SECONDS + 1, blocked="no image"),)), []),
        (
            Observed(plan=PLAN_DONE, work=WORK_RUNS, pods=(starting(60, WORK_RUNS), pod(WORK_RUNS, "Running"))),
            ["Pod calls-work-x1y2z does not start"],
        ),
    ],
)
def test_what_stands_still(seen, names):
    assert [name for _, name, _ in standing_still(seen, NOW)] == names


class Events:
    """The warnings of an API server, and how often it was asked."""

    def __init__(self, *messages: str, error: Exception | None = None, at=NOW) -> None:
        self.warnings = [{"message": text, "lastTimestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ")} for text in messages]
        self.error, self.asked = error, 0

    def warnings_about(self, namespace, uid):
        self.asked += 1
        if self.error:
            raise self.error
        return self.warnings


def test_the_last_warning_is_the_one_that_counts():
    said = TroubleReader(Events("earlier", "exceeded quota"), 10).about("team", NO_POD, NOW)
    assert said == "Job calls-plan has no pod: exceeded quota"


def test_nothing_is_read_about_what_moves():
    events = Events("old trouble")
    assert TroubleReader(events, 10).about("team", Observed(plan=JUST_MADE), NOW) == ""
    assert events.asked == 0


def test_events_are_read_again_only_after_a_while():
    events = Events("first")
    reader = TroubleReader(events, every=10)
    assert reader.about("team", NO_POD, NOW).endswith("first")
    events.warnings[-1]["message"] = "second"
    assert reader.about("team", NO_POD, after(9)).endswith("first") and events.asked == 1
    assert reader.about("team", NO_POD, after(10)).endswith("second") and events.asked == 2


def test_what_was_in_the_way_before_is_in_the_way_no_more():
    events = Events("no node has room", at=NOW - timedelta(minutes=5))
    seen = Observed(plan=PLAN_RUNS, pods=(starting(NOT_STARTED_SECONDS + 1),))
    assert TroubleReader(events, 10).about("team", seen, NOW) == ""


def test_of_a_thousand_pods_that_wait_a_few_are_asked_about():
    events = Events()
    pods = tuple(starting(60, WORK_RUNS, uid=str(number)) for number in range(1000))
    assert TroubleReader(events, 10).about("team", Observed(plan=PLAN_DONE, work=WORK_RUNS, pods=pods), NOW) == ""
    assert events.asked == AT_MOST


@pytest.mark.parametrize("error", [Missing("gone"), Rejected("You may not list events.", final=False)])
def test_events_that_may_not_be_read_say_nothing(error):
    assert TroubleReader(Events(error=error), 10).about("team", NO_POD, NOW) == ""


def test_a_server_that_is_away_is_asked_again_by_the_next_pass():
    events = Events("exceeded quota", error=Unavailable("busy"))
    reader = TroubleReader(events, 10)
    with pytest.raises(Unavailable):
        reader.about("team", NO_POD, NOW)
    events.error = None
    assert reader.about("team", NO_POD, after(1)) == "Job calls-plan has no pod: exceeded quota"


def test_a_long_message_does_not_fill_the_status():
    said = TroubleReader(Events("x" * 100_000), 10).about("team", NO_POD, NOW)
    assert len(said) <= 1024
