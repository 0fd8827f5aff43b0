"""Whatever pods and workers say, the status is one that the API server takes: no pass ends in an exception."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.operator_scenes import (
    NOW,
    PLAN_DONE,
    PLAN_SAID,
    REPORT_DONE,
    REPORT_SAID,
    WORKED,
    WORKING,
    job,
    pod,
)
from transcription_api.job import TranscriptionJob
from transcription_operator.decide import decide
from transcription_operator.progress import add_up, reduced

NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from([0, -1, 1e-300, 1e300, 10**30, 2**63]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(), st.just("\ud800"), st.just("x" * 5000)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=8,
)


def saying(names):
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, VALUES))


def taken(status):
    """It goes through JSON and back as it does through the API server."""
    text = json.dumps(status.model_dump(mode="json", by_alias=True, exclude_none=True))
    text.encode()
    parsed = TranscriptionJob.model_validate_json(
        json.dumps({**job().to_manifest(), "status": json.loads(text)}), by_alias=True, by_name=False
    )
    assert parsed.status is not None


@given(saying(PLAN_SAID), saying([*REPORT_SAID, "failures"]))
def test_summaries(plan, report):
    words = (pod(PLAN_DONE, "Succeeded", json.dumps(plan)), pod(REPORT_DONE, "Succeeded", json.dumps(report)))
    taken(decide(job(), replace(WORKED, report=REPORT_DONE, pods=words), NOW).status)


COUNTS = ["done", "skipped", "failed", "audio_seconds", "bytes"]
WORKER = saying([*COUNTS, "speed", "model_digest", "failures", "shards"])


@given(saying([*COUNTS, "recordings", "total_bytes", "failures", "finished_shards"]), st.lists(WORKER, max_size=3))
def test_progress(ledgers, workers):
    totals = add_up(reduced(ledgers), [reduced(worker) for worker in workers])
    taken(decide(job(), replace(WORKING, totals=totals), NOW).status)


@pytest.mark.parametrize("message", ["[" * 4096, "[]", "3", "{", '{"a":' * 3000, "", "\ud800"])
def test_termination_messages(message):
    words = (pod(PLAN_DONE, "Succeeded", message), pod(REPORT_DONE, "Succeeded", message))
    taken(decide(job(), replace(WORKED, report=REPORT_DONE, pods=words), NOW).status)
