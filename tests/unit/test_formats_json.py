"""The JSON document: schema, exact round trip, deterministic bytes, clear errors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from transcription_worker.errors import ConfigurationError, Reason, RecordingError
from transcription_worker.formats import CONTENT_TYPES, FORMATS, content_type, from_json, render, render_stored, to_json
from transcription_worker.transcript import ChannelTranscript, Provenance, Segment, Source, Transcript, Word

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "transcript.schema.json").read_text())

SOURCE = Source("s3://calls/a b.wav", "a b.wav", "9e107d9d", 320_044, 10.0, 16_000, 2, "pcm_s16le")
PROVENANCE = Provenance("calls", "nvidia/x", "sha256:aa", "sha256:bb", "nemo 3.0.0", "0.1.0", "bfloat16", "de")

seconds = st.integers(0, 10**8).map(lambda ms: ms / 1000)
confidence = st.none() | st.integers(0, 10_000).map(lambda n: n / 10_000)
words = st.builds(Word, st.text(), seconds, seconds, confidence)
segments = st.builds(Segment, seconds, seconds, st.text(), confidence, st.lists(words, max_size=4).map(tuple))
channels = st.builds(ChannelTranscript, st.none() | st.integers(0, 7), st.lists(segments, max_size=4).map(tuple))
transcripts = st.builds(
    Transcript,
    st.builds(replace, st.just(SOURCE), key=st.text(), duration=seconds),
    st.builds(replace, st.just(PROVENANCE), language=st.none() | st.text()),
    st.lists(channels, max_size=3).map(tuple),
)


def transcript(*segments: Segment, channel: int | None = None) -> Transcript:
    return Transcript(SOURCE, PROVENANCE, (ChannelTranscript(channel, segments),))


@given(transcripts)
def test_round_trip_is_exact_and_the_document_obeys_the_schema(original: Transcript) -> None:
    document = to_json(original)
    assert from_json(document) == original
    assert to_json(from_json(document)) == document
    Draft202012Validator(SCHEMA).validate(json.loads(document))


def test_schema_is_itself_valid_and_refuses_what_is_not_in_it() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    document: dict[str, Any] = json.loads(to_json(transcript()))
    document["source"]["duration"] = 10.0
    assert not Draft202012Validator(SCHEMA).is_valid(document)


def test_every_property_of_the_schema_is_described_and_required() -> None:
    for name, definition in {"": SCHEMA, **SCHEMA["$defs"]}.items():
        properties = definition.get("properties", {})
        assert set(definition.get("required", [])) == set(properties), name
        assert all("description" in value or "$ref" in value for value in properties.values()), name


def test_times_have_milliseconds_and_confidences_four_decimals() -> None:
    word = Word("hello", 0.12349, 1 / 3, 0.987654)
    document = json.loads(to_json(transcript(Segment(-0.0, 2, "hello", 1 / 3, (word,)))))
    segment = document["channels"][0]["segments"][0]
    assert segment["words"] == [{"text": "hello", "start": 0.123, "end": 0.333, "confidence": 0.9877}]
    assert segment["confidence"] == 0.3333


def test_equal_transcripts_give_equal_bytes() -> None:
    one, other = Segment(0, 2, "x", 1), Segment(-0.0, 2.0, "x", 1.0)
    assert one == other
    assert to_json(transcript(one)) == to_json(transcript(other))


def test_document_is_readable_utf8_also_where_the_key_is_not() -> None:
    odd = replace(transcript(Segment(0, 1, "Grüße 你好")), source=replace(SOURCE, key="caf\udce9.wav"))
    document = to_json(odd)
    assert "Grüße 你好" in document.decode()
    assert from_json(document).source.key == "caf\udce9.wav"


def test_time_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        to_json(transcript(Segment(0.0, float("nan"), "x")))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"schemaVersion":"2","text":""}', "schemaVersion '2' and this version reads '1'"),
        (b"{}", "no transcript of this software"),
        (b"[]", "no transcript of this software"),
        (b"\xff\xfe", "no transcript of this software"),
        (b"[" * 100_000, "no transcript of this software"),
        (b'{"schemaVersion":"1"}', "damaged (KeyError: 'source')"),
        (b'{"schemaVersion":"1","source":[],"provenance":{},"channels":[]}', "damaged"),
    ],
)
def test_document_that_cannot_be_read_gives_one_sentence_with_the_remedy(body: bytes, says: str) -> None:
    with pytest.raises(RecordingError) as caught:
        from_json(body)
    assert caught.value.reason is Reason.CORRUPT
    assert not caught.value.retryable
    assert says in caught.value.message
    assert "overwrite to Always" in caught.value.message
    assert "\n" not in caught.value.message


def test_render_gives_one_file_per_format_and_channel() -> None:
    said = (Segment(0, 1, "yes"),)
    each = Transcript(SOURCE, PROVENANCE, (ChannelTranscript(0, said), ChannelTranscript(1, said)))
    assert list(render(each, FORMATS)) == [
        *("json", "ch0.txt", "ch1.txt", "ch0.srt", "ch1.srt", "ch0.vtt", "ch1.vtt", "ctm"),
    ]
    assert list(render(transcript(*said), ["srt", "json"])) == ["srt", "json"]
    assert list(render(transcript(*said, channel=0), ["vtt"])) == ["ch0.vtt"]
    assert {content_type(suffix) for suffix in render(each, FORMATS)} == set(CONTENT_TYPES.values())


@given(transcripts)
def test_format_added_later_is_the_same_bytes(original: Transcript) -> None:
    files = render(original, FORMATS)
    for name in FORMATS[1:]:
        later = render_stored(files["json"], [name])
        assert later == {suffix: files[suffix] for suffix in later}


def test_format_that_does_not_exist_is_named() -> None:
    with pytest.raises(
        ConfigurationError, match=r"'docx' in spec.output.formats is no format: use json, txt, srt, vtt, ctm"
    ):
        render(transcript(), ["json", "docx"])
