"""The models themselves: defaults, names, immutability, digest and failure limit."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from transcription_api.job import (
    FailurePolicy,
    Input,
    ModelSource,
    Output,
    TranscriptionJob,
    TranscriptionOptions,
    options_digest,
)

MANIFEST = {
    "apiVersion": "transcription-operator.io/v1alpha1",
    "kind": "TranscriptionJob",
    "metadata": {"name": "calls"},
    "spec": {
        "input": {"uri": "s3://calls/2026/"},
        "output": {"uri": "s3://transcripts/"},
        "model": {"name": "nvidia/parakeet-tdt-0.6b-v3"},
        "storage": {"endpointUrl": "https://s3.example.com"},
        "ttlSecondsAfterFinished": 60,
    },
}


def test_fields_are_camel_case_outside_and_snake_case_inside() -> None:
    job = TranscriptionJob.model_validate(MANIFEST)
    assert job.spec.storage.endpoint_url == "https://s3.example.com"
    assert job.spec.ttl_seconds_after_finished == 60
    assert Output(uri="out", overwrite="Always") == Output.model_validate({"uri": "out", "overwrite": "Always"})


def test_manifest_survives_a_round_trip() -> None:
    job = TranscriptionJob.model_validate(MANIFEST)
    assert TranscriptionJob.model_validate(job.to_manifest()) == job
    assert job.to_manifest()["spec"]["storage"]["endpointUrl"] == "https://s3.example.com"


def test_object_as_the_api_server_returns_it_is_read() -> None:
    metadata = {
        "name": "calls",
        "namespace": "speech",
        "uid": "d9607e19-f88f-11e6-a518-42010a800195",
        "resourceVersion": "7",
        "generation": 1,
        "creationTimestamp": "2026-11-01T00:00:00Z",
        "managedFields": [{"manager": "kubectl"}],
        "ownerReferences": [{"kind": "CronJob"}],
        "selfLink": "",
    }
    status = {"phase": "Running", "progress": {"done": 3, "addedInALaterRelease": 1}}
    job = TranscriptionJob.model_validate(MANIFEST | {"metadata": metadata, "status": status})
    assert job.metadata.uid == metadata["uid"]
    assert job.status is not None
    assert job.status.progress is not None
    assert (job.status.phase, job.status.progress.done) == ("Running", 3)


def test_models_never_change() -> None:
    job = TranscriptionJob.model_validate(MANIFEST)
    with pytest.raises(ValidationError):
        job.spec.suspend = True  # type: ignore[misc]


def test_rule_across_fields_holds_for_models_made_in_code() -> None:
    with pytest.raises(ValidationError, match="exactly one source"):
        Input(uri="s3://calls/x", manifest="s3://calls/list.jsonl")
    with pytest.raises(ValidationError, match="exactly one source"):
        ModelSource()


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ((), None),
        (("json",), ("json",)),
        (("srt",), ("srt", "json")),
        (("json", "vtt", "srt", "vtt"), ("vtt", "srt", "json")),
    ],
)
def test_json_is_always_written_and_last(given: tuple[str, ...], written: tuple[str, ...] | None) -> None:
    if written is None:
        with pytest.raises(ValidationError):
            Output.model_validate({"uri": "s3://out/", "formats": given})
    else:
        assert Output.model_validate({"uri": "s3://out/", "formats": given}).all_formats == written


@pytest.mark.parametrize(
    ("limit", "failed", "total", "allowed"),
    [
        (0, 0, 10, True),
        (0, 1, 10, False),
        (3, 3, 4, True),
        ("10%", 1, 10, True),
        ("10%", 2, 19, False),
        ("10%", 1, 9, False),
        ("0%", 1, 10**9, False),
        ("100%", 10, 10, True),
        ("10%", 0, 0, True),
    ],
)
def test_failure_limit(limit: int | str, failed: int, total: int, allowed: bool) -> None:
    assert FailurePolicy(max_failed_recordings=limit).allows(failed, total) is allowed


CHANGES: list[tuple[dict[str, object], bool]] = [
    ({"timestamps": "segment"}, True),
    ({"channels": "each"}, True),
    ({"channels": 0}, True),
    ({"maxSegmentSeconds": 31}, True),
    ({"precision": "float32"}, True),
    ({"language": "en"}, True),
    ({"confidence": False}, True),
    ({"decoder": "ctc"}, True),
    ({"attention": "local"}, True),
    ({"batchSeconds": 100}, False),
    ({"maxRecordingSeconds": 100}, False),
    ({"maxSegmentSeconds": 30}, False),
    ({"channels": "mix"}, False),
]


@pytest.mark.parametrize(("change", "differs"), CHANGES)
def test_digest_tells_options_that_change_a_transcript(change: dict[str, object], differs: bool) -> None:
    default = options_digest(TranscriptionOptions())
    assert (options_digest(TranscriptionOptions.model_validate(change)) != default) is differs


def test_every_option_was_decided_to_be_in_the_digest_or_not() -> None:
    assert {name for change, _ in CHANGES for name in change} == {
        str(info.alias) for info in TranscriptionOptions.model_fields.values()
    }


def test_digest_never_changes_between_releases() -> None:
    """A new value here makes every existing transcript outdated: all are done again."""
    assert options_digest(TranscriptionOptions()) == "8c77dea05da57b15"
