"""Subtitles as third-party readers parse them, and the rules of broadcasters."""

from __future__ import annotations

from datetime import timedelta
from html import unescape
from itertools import pairwise

import pytest
import srt
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from transcription_worker.formats.cues import GAP_MS, LINE_COLUMNS, columns, cues
from transcription_worker.formats.srt import to_srt
from transcription_worker.formats.timed import printable
from transcription_worker.formats.vtt import to_vtt
from transcription_worker.transcript import ChannelTranscript, Segment, Word


def spoken(text: str, *, start: float = 0.0, rate: float = 0.35, pauses: dict[int, float] | None = None) -> Segment:
    """`text` said at `rate` seconds a word; `pauses` says how long the speaker waits after the n-th word."""
    words, now = [], start
    for n, word in enumerate(text.split()):
        words.append(Word(word, now, now + 0.9 * rate))
        now += rate + (pauses or {}).get(n, 0.0)
    return Segment(start, now, text, None, tuple(words))


def channel(*segments: Segment) -> ChannelTranscript:
    return ChannelTranscript(None, segments)


def shown(*segments: Segment) -> list[tuple[str, ...]]:
    return [cue.lines for cue in cues(channel(*segments))]


@st.composite
def ordered_words(draw: st.DrawFn) -> ChannelTranscript:
    """Any words in order of time: any text, any length, also several at one time and pauses of any length."""
    texts = draw(st.lists(st.text(max_size=100), max_size=30))
    steps = st.sampled_from([0.0, 0.001, 0.08, 0.4, 1.0, 30.0])
    now, words = 0.0, []
    for text in texts:
        start = now + draw(steps)
        now = start + draw(steps)
        words.append(Word(text, start, now))
    cut = draw(st.integers(0, len(words)))
    parts = [part for part in (words[:cut], words[cut:]) if part]
    with_times = draw(st.booleans())
    return channel(
        *(
            Segment(p[0].start, p[-1].end, " ".join(w.text for w in p), None, tuple(p) if with_times else ())
            for p in parts
        )
    )


def without_spaces(text: str) -> str:
    return "".join(printable(text))


@given(ordered_words())
def test_any_words_in_order_give_cues_that_do_not_overlap_and_hold_the_whole_text(said: ChannelTranscript) -> None:
    found = cues(said)
    assert without_spaces(" ".join(" ".join(cue.lines) for cue in found)) == without_spaces(said.text)
    assert all(cue.start < cue.end for cue in found)
    assert all(first.end + GAP_MS <= second.start for first, second in pairwise(found))
    for cue in found:
        assert 1 <= len(cue.lines) <= 2
        assert all(0 < columns(line) <= LINE_COLUMNS for line in cue.lines)


@given(ordered_words())
def test_any_words_in_order_are_read_back_by_other_peoples_parsers(said: ChannelTranscript) -> None:
    expected = cues(said)
    subrip = list(srt.parse(to_srt(said).decode()))
    assert [(s.start, s.end) for s in subrip] == [
        (timedelta(milliseconds=c.start), timedelta(milliseconds=c.end)) for c in expected
    ]
    assert [s.content for s in subrip] == ["\n".join(c.lines).replace("-->", "→") for c in expected]
    assert [s.index for s in subrip] == list(range(1, len(expected) + 1))

    captions = webvtt.from_string(to_vtt(said).decode()).captions
    assert [tuple(unescape(line) for line in c.raw_text.split("\n")) for c in captions] == [c.lines for c in expected]
    assert [(c.start_time.in_seconds(), c.start_time.milliseconds) for c in captions] == [
        divmod(c.start, 1000) for c in expected
    ]


def test_nothing_said_gives_valid_empty_files() -> None:
    for nothing in (channel(), channel(Segment(0, 3, "")), channel(Segment(0, 3, " \n\x00"))):
        assert to_srt(nothing) == b""
        assert to_vtt(nothing) == b"WEBVTT\n"
        assert webvtt.from_string(to_vtt(nothing).decode()).captions == []


def test_sentence_has_a_cue_of_its_own_where_time_allows() -> None:
    assert shown(spoken("Good evening and welcome. Tonight we talk about the weather in the mountains.")) == [
        ("Good evening and welcome.",),
        ("Tonight we talk about", "the weather in the mountains."),
    ]


def test_title_and_initials_end_no_sentence() -> None:
    assert shown(spoken("Please ask Dr. Smith or J. Brown about it.")) == [
        ("Please ask Dr. Smith or J. Brown about it.",)
    ]


def test_long_sentence_is_cut_at_its_comma_and_in_parts_of_about_one_length() -> None:
    said = spoken(
        "When the last train had left the station and the lights went out, "
        "nobody on the platform knew how to get home before the morning came."
    )
    (first, second) = (" ".join(lines) for lines in shown(said))
    assert first.endswith("went out,")
    assert second.startswith("nobody")


def test_two_lines_are_balanced_and_break_at_a_comma() -> None:
    assert shown(spoken("If it rains tomorrow morning, we shall all stay at home.")) == [
        ("If it rains tomorrow morning,", "we shall all stay at home.")
    ]


def test_cut_falls_into_the_pause_where_there_is_no_punctuation() -> None:
    words = " ".join(f"word{n:02d}" for n in range(20))
    first, *_ = shown(spoken(words, pauses={10: 0.7}))
    assert first[-1].endswith("word10")


def test_silence_of_a_second_starts_a_new_cue_and_empties_the_screen() -> None:
    first, second = cues(channel(spoken("one two three four", pauses={1: 4.0})))
    assert (first.lines, second.lines) == (("one two",), ("three four",))
    assert second.start - first.end > 3000


def test_cue_stays_long_enough_to_be_read_but_ends_two_frames_before_the_next() -> None:
    first, second = cues(channel(spoken("Yes.", rate=0.2), spoken("And then it began to rain.", start=1.4)))
    assert first.end - first.start == 833
    assert second.end - second.start >= 833
    first, second = cues(channel(spoken("Yes.", rate=0.2), spoken("And then it began to rain.", start=1.1)))
    assert second.start - first.end == GAP_MS


def test_answer_too_short_to_be_read_joins_its_neighbour() -> None:
    assert shown(spoken("Yes. No. I do not know.", rate=0.25)) == [("Yes. No. I do not know.",)]


def test_reading_speed_is_at_most_20_characters_a_second_where_time_allows() -> None:
    quick = spoken("Extraordinarily complicated circumstances notwithstanding everybody understood.", rate=0.3)
    (only,) = cues(channel(quick))
    assert sum(map(len, only.lines)) / ((only.end - only.start) / 1000) <= 20.0


def test_no_cue_stands_longer_than_seven_seconds() -> None:
    for cue in cues(channel(Segment(0, 40, "hm", None, (Word("hm", 0, 40),)), spoken("so " * 60, start=41, rate=0.9))):
        assert cue.end - cue.start <= 7000


def test_segment_without_word_times_is_spread_over_its_characters() -> None:
    text = "This part of the talk has no word times at all. " * 4
    found = cues(channel(Segment(10.0, 26.0, text.strip())))
    assert found[0].start == 10_000
    assert found[1].start == pytest.approx(14_000, abs=100)
    assert found[-1].end == pytest.approx(26_000, abs=100)


def test_script_without_spaces_is_cut_at_its_punctuation_to_lines_of_half_as_many_characters() -> None:
    text = "今天天气很好我们去公园散步吧。" * 6
    found = cues(channel(Segment(0.0, 30.0, text, None, (Word(text, 0.0, 30.0),))))
    assert "".join("".join(cue.lines) for cue in found) == text
    assert all(len(line) <= 21 for cue in found for line in cue.lines)
    assert all(cue.lines[-1].endswith("。") for cue in found)


def test_markup_and_arrows_in_the_text_are_text() -> None:
    said = channel(Segment(0, 4, "a <b>bold</b> & --> 00:00:01,000 --> 00:00:02,000\n\n2\n"))
    vtt = to_vtt(said).decode()
    assert "a &lt;b&gt;bold&lt;/b&gt; &amp; --&gt;" in vtt
    assert vtt.count("-->") == len(webvtt.from_string(vtt).captions) == 1
    (subtitle,) = srt.parse(to_srt(said).decode())
    assert subtitle.content.replace("\n", " ") == "a <b>bold</b> & → 00:00:01,000 → 00:00:02,000 2"


def test_long_recording_has_more_than_two_digits_of_hours() -> None:
    late = channel(Segment(360_000.0, 360_002.0, "still here"))
    assert b"100:00:00,000 --> 100:00:02,000" in to_srt(late)
    assert webvtt.from_string(to_vtt(late).decode()).captions[0].start_in_seconds == 360_000
