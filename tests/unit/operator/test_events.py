"""Events: each change of a job's story once, nothing when nothing changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.jobs import REPOSITORY
from tests.operator_scenes import NOW, PLANNED, PLANNING, WORKED, WORKING, job, reported
from transcription_api.names import Component, ConditionReason
from transcription_operator.decide import decide
from transcription_operator.events import event_body, transitions
from transcription_operator.observed import Observed, Refusal


def story(*moments):
    """The reasons of all events while a job goes through these moments, each seen twice."""
    status, told = None, []
    for given, seen in moments:
        for _ in range(2):
            before = status
            status = decide(given.model_copy(update={"status": status}), seen, NOW).status
            told += [(event.type, event.reason) for event in transitions(before, status)]
    return told


def test_a_life():
    plain = job()
    moments = [(plain, seen) for seen in (Observed(), PLANNING, PLANNED, WORKING, WORKED, reported(failed=1, done=7))]
    assert story(*moments) == [
        ("Normal", "Planning"),
        ("Normal", "PlanWritten"),
        ("Normal", "Running"),
        ("Normal", "Reporting"),
        ("Warning", "CompletedWithFailures"),
    ]


def test_a_failure_is_told_once():
    refused = replace(PLANNED, refusal=Refusal(Component.WORK, "invalid", final=True))
    assert story((job(), PLANNED), (job(), refused))[-1] == ("Warning", "Configuration")
    assert [reason for _, reason in story((job(), refused))].count("Configuration") == 1


def test_suspending_and_resuming_are_told():
    reasons = [reason for _, reason in story((job(), WORKING), (job(suspend=True), WORKING), (job(), WORKING))]
    assert (reasons.count("SuspendedBySpec"), reasons.count("Resumed")) == (1, 1)


def test_the_event_names_its_job():
    event = next(iter(transitions(None, decide(job(), Observed(), NOW).status)))
    one, other = (event_body(job(), event, NOW) for _ in range(2))
    assert one["involvedObject"]["uid"] == job().metadata.uid and one["metadata"]["namespace"] == "team"
    assert one["metadata"]["name"] != other["metadata"]["name"]


@pytest.mark.parametrize("reason", ConditionReason)
def test_every_reason_is_given_somewhere_and_explained_to_the_user(reason):
    sources = (REPOSITORY / "operator" / "transcription_operator").rglob("*.py")
    assert any(f"ConditionReason.{reason.name}" in path.read_text() for path in sources)
    assert reason.value in (REPOSITORY / "docs" / "kubernetes.md").read_text()
