"""Plain text and NIST CTM, the latter as lhotse reads it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest
from lhotse import SupervisionSegment, SupervisionSet

from transcription_worker.formats.ctm import file_field, to_ctm
from transcription_worker.formats.txt import to_txt
from transcription_worker.transcript import ChannelTranscript, Provenance, Segment, Source, Transcript, Word

SOURCE = Source("s3://calls/a/b c.wav", "a/b c.wav", "9e107d9d", 320_044, 10.0, 16_000, 2, "pcm_s16le")
PROVENANCE = Provenance("calls", "nvidia/x", "sha256:aa", "sha256:bb", "nemo 3.0.0", "0.1.0", "bfloat16")
LEFT = (Word("hello", 0.5, 0.9, 0.91), Word("there", 1.0, 1.25, 0.5))
RIGHT = (Word("good", 2.0, 2.5), Word("morning", 2.5, 3.125))


def transcript(*channels: ChannelTranscript) -> Transcript:
    return Transcript(SOURCE, PROVENANCE, channels)


def test_text_is_one_clean_line_per_segment() -> None:
    said = (Segment(0, 1, "one\ntwo\x00 "), Segment(1, 2, ""), Segment(2, 3, " three"))
    assert to_txt(ChannelTranscript(None, said)) == b"one two\nthree\n"
    assert to_txt(ChannelTranscript(None, ())) == b""


def test_ctm_lines_are_those_of_nist() -> None:
    both = transcript(
        ChannelTranscript(0, (Segment(0.5, 1.25, "hello there", None, LEFT),)),
        ChannelTranscript(1, (Segment(2.0, 3.125, "good morning", None, RIGHT),)),
    )
    assert to_ctm(both).decode().splitlines() == [
        "a/b%20c.wav 1 0.500 0.400 hello 0.9100",
        "a/b%20c.wav 1 1.000 0.250 there 0.5000",
        "a/b%20c.wav 2 2.000 0.500 good",
        "a/b%20c.wav 2 2.500 0.625 morning",
    ]


def test_ctm_of_mixed_channels_is_channel_1_and_of_nothing_is_empty() -> None:
    assert to_ctm(transcript(ChannelTranscript(None, (Segment(0.5, 1.25, "", None, LEFT),)))).startswith(
        b"a/b%20c.wav 1 "
    )
    assert to_ctm(transcript(ChannelTranscript(None, ()))) == b""


def test_ctm_without_word_times_spreads_the_segment_over_its_characters() -> None:
    said = transcript(ChannelTranscript(None, (Segment(2.0, 4.0, "ab abcdef", 0.8),)))
    assert to_ctm(said).decode().splitlines() == [
        "a/b%20c.wav 1 2.000 0.500 ab 0.8000",
        "a/b%20c.wav 1 2.500 1.500 abcdef 0.8000",
    ]


@pytest.mark.parametrize(
    "key", ["plain.wav", "a b\tc.wav", ";;comment.wav", "50%.wav", "nb\u00a0sp.wav", "caf\udce9.wav"]
)
def test_ctm_file_field_is_one_field_and_gives_the_key_back(key: str) -> None:
    field = file_field(key)
    assert len(field.split()) == 1
    assert not field.startswith(";")
    field.encode()
    assert unquote(field, errors="surrogateescape") == key


def test_lhotse_reads_the_words_of_each_channel(tmp_path: Path) -> None:
    both = transcript(
        ChannelTranscript(0, (Segment(0.5, 1.25, "hello there", None, LEFT),)),
        ChannelTranscript(1, (Segment(2.0, 3.125, "good morning", None, RIGHT),)),
    )
    file = tmp_path / "x.ctm"
    file.write_bytes(to_ctm(both))
    recording = file_field(SOURCE.key)
    supervisions = SupervisionSet.from_segments(
        [SupervisionSegment(f"s{n}", recording, start=0.0, duration=10.0, channel=n) for n in (1, 2)]
    ).with_alignment_from_ctm(file, match_channel=True)
    left, right = (supervision.alignment["word"] for supervision in supervisions)
    assert [(w.symbol, w.start, w.end, w.score) for w in left] == [("hello", 0.5, 0.9, 0.91), ("there", 1.0, 1.25, 0.5)]
    assert [(w.symbol, w.start, w.end, w.score) for w in right] == [
        ("good", 2.0, 2.5, None),
        ("morning", 2.5, 3.125, None),
    ]


def test_ctm_of_a_key_that_is_not_utf8_is_utf8() -> None:
    odd = replace(
        transcript(ChannelTranscript(None, (Segment(0, 1, "x"),))), source=replace(SOURCE, key="caf\udce9.wav")
    )
    assert to_ctm(odd) == b"caf%E9.wav 1 0.000 1.000 x\n"
