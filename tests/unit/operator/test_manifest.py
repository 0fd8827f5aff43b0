"""What an API server holds becomes a job, or the sentences that say why it is none."""

from __future__ import annotations

import pytest

from tests.operator_scenes import UID, job
from transcription_api.conditions import is_true
from transcription_api.names import API_VERSION, KIND, ConditionType
from transcription_operator.manifest import InvalidSpec, parse, without_spec
from transcription_operator.world import Record

COMPLETE = {
    "type": "Complete",
    "status": "True",
    "reason": "Completed",
    "message": "",
    "lastTransitionTime": "2026-03-01T12:00:00Z",
}


def record(status=None, **spec) -> Record:
    body = job().model_dump(mode="json", by_alias=True, exclude_none=True)
    return Record.of(
        {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {**body["metadata"], "resourceVersion": "7", "annotations": {"kept": "out"}},
            "spec": {**body["spec"], **spec},
            "status": status or {},
        }
    )


def test_a_job_comes_with_its_status():
    parsed = parse(record({"phase": "Succeeded", "conditions": [COMPLETE]}))
    assert (parsed.metadata.name, parsed.metadata.uid) == ("calls", UID)
    assert is_true(parsed.status.conditions, ConditionType.COMPLETE)


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ({"model": {"oracle": "x"}}, "spec.model.oracle"),
        ({"model": {}}, "spec.model"),
        ({"input": {"uri": "http://calls/"}}, "spec.input.uri"),
        ({"later": True}, "spec.later"),
        ({"workers": {"replicas": "many"}}, "spec.workers.replicas"),
    ],
)
def test_a_spec_that_is_none_is_said_with_its_place(spec, place):
    with pytest.raises(InvalidSpec, match=place):
        parse(record(**spec))


@pytest.mark.parametrize("status", [{}, {"phase": "Dreaming"}])
def test_nothing_is_said_of_a_status_that_no_user_writes(status):
    with pytest.raises(InvalidSpec) as raised:
        parse(record(status, input={"uri": "s3://calls/", "include": ["[z-a]"]}))
    assert str(raised.value).startswith("spec.input.include[0]: [z-a] is no range of characters")


def test_every_fault_is_said_at_once():
    with pytest.raises(InvalidSpec) as raised:
        parse(record(later=True, model={"oracle": "x"}))
    assert "spec.later" in str(raised.value) and "spec.model" in str(raised.value)


@pytest.mark.parametrize("status", [{"phase": "Dreaming"}, {"plan": "a later kind"}, {"progress": {"done": -1}}])
def test_a_status_of_another_release_is_no_fault_and_its_end_is_not_forgotten(status):
    parsed = parse(record({**status, "conditions": [COMPLETE], "completionTime": "2026-03-01T12:00:00Z"}))
    assert is_true(parsed.status.conditions, ConditionType.COMPLETE)
    assert parsed.status.completion_time == "2026-03-01T12:00:00Z"


@pytest.mark.parametrize("status", [{}, {"conditions": [COMPLETE]}, {"phase": "Dreaming", "conditions": [COMPLETE]}])
def test_of_an_unreadable_job_name_and_end_are_left(status):
    left = without_spec(record(status, later=True))
    assert (left.metadata.name, left.metadata.uid, left.metadata.namespace) == ("calls", UID, "team")
    assert is_true(left.status.conditions if left.status else (), ConditionType.COMPLETE) == bool(status)
