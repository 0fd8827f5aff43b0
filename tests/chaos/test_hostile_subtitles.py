"""Transcripts whose words are the syntax of subtitles: third-party readers get the words back, in the cues that were
written, and nothing else. What cues are made of is in tests/unit/test_formats_subtitles.py.
"""

from __future__ import annotations

from html import unescape

import pytest
import srt
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from transcription_worker.formats.ctm import to_ctm
from transcription_worker.formats.cues import cues
from transcription_worker.formats.srt import to_srt
from transcription_worker.formats.vtt import to_vtt
from transcription_worker.transcript import ChannelTranscript, Provenance, Segment, Source, Transcript, Word

SYNTAX = [
    "-->",
    "-- >",
    "--->",
    "00:00:01,000",
    "00:00:01.000",
    "00:00:01.000-->00:00:02.000",
    "1",
    "2\n\n3",
    "\n\n",
    "\r\n\r\n",
    "WEBVTT",
    "NOTE",
    "STYLE",
    "REGION",
    "::cue{color:red}",
    "align:start",
    "position:10%",
    "<b>",
    "</b>",
    "<c.red>",
    "<00:00:01.000>",
    "<v Speaker>",
    "<script>alert(1)</script>",
    "&amp;",
    "&lt;",
    "&#60;",
    "&",
    "{\\an8}",
    "\ufeff",
    "\x00",
    "\u2028",
    "\x85",
    ";;",
    "=1+1",
]


@st.composite
def spoken(draw: st.DrawFn) -> ChannelTranscript:
    """Words of syntax and a few that are none, with word times or without."""
    said = draw(st.lists(st.sampled_from([*SYNTAX, "word", "ü"]), min_size=1, max_size=40))
    words = tuple(Word(text, 0.5 * n, 0.5 * n + 0.4) for n, text in enumerate(said))
    timed = draw(st.booleans())
    return ChannelTranscript(None, (Segment(0.0, 0.5 * len(said), " ".join(said), None, words if timed else ()),))


@given(spoken())
def test_subrip_is_read_back_as_it_was_meant(said: ChannelTranscript) -> None:
    expected = cues(said)
    found = list(srt.parse(to_srt(said).decode()))
    assert [subtitle.index for subtitle in found] == list(range(1, len(expected) + 1))
    assert [subtitle.content for subtitle in found] == ["\n".join(cue.lines).replace("-->", "→") for cue in expected]
    assert [round(subtitle.start.total_seconds() * 1000) for subtitle in found] == [cue.start for cue in expected]


@given(spoken())
def test_webvtt_is_read_back_as_it_was_meant(said: ChannelTranscript) -> None:
    expected = cues(said)
    text = to_vtt(said).decode()
    assert text.count("-->") == len(expected)
    found = webvtt.from_string(text)
    assert [unescape(caption.raw_text) for caption in found.captions] == ["\n".join(cue.lines) for cue in expected]
    assert not found.styles
    for caption in found.captions:
        assert "<" not in caption.raw_text


@given(spoken(), st.sampled_from(["a b.wav", ";; comment.wav", "=1+1.wav", "line\nbreak.wav", "tab\t.wav", "%20.wav"]))
def test_every_line_of_ctm_has_its_fields(said: ChannelTranscript, key: str) -> None:
    source = Source("s3://b/k", key, "e", 1, 20.0, 16_000, 1, "pcm_s16")
    transcript = Transcript(source, Provenance("j", "m", "d", "o", "e", "s", "p"), (said,))
    for line in to_ctm(transcript).decode().split("\n")[:-1]:
        file, channel, begin, duration, *word = line.split(" ")
        assert not file.startswith(";;") and file.isprintable()
        assert channel == "1" and float(begin) >= 0 and float(duration) >= 0
        assert len(word) == 1 and word[0]


@pytest.mark.parametrize("text", SYNTAX)
def test_a_segment_that_is_nothing_but_syntax_makes_one_cue_or_none(text: str) -> None:
    said = ChannelTranscript(None, (Segment(0.0, 2.0, text),))
    assert len(list(srt.parse(to_srt(said).decode()))) == len(webvtt.from_string(to_vtt(said).decode()).captions) <= 1
