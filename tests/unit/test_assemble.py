"""From segments to a transcript: at a seam no word is lost and none doubled."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from transcription_worker.assemble import Heard, assemble
from transcription_worker.engines.protocol import Recognition
from transcription_worker.transcript import Word


def recognition(*words: tuple[str, float, float]) -> Recognition:
    said = tuple(Word(text, start, end, 0.5) for text, start, end in words)
    return Recognition(" ".join(word.text for word in said), said, 0.5)


def texts(*heard: Heard, words: bool = True) -> list[str]:
    (channel,) = assemble(heard, [None], words=words)
    return [segment.text for segment in channel.segments]


def around(left: Recognition, right: Recognition) -> list[Heard]:
    """Two segments of a recording with a seam at 10 s and one second of context on each side."""
    return [Heard(None, 0, 0.0, 11.0, left, 0.0, 1.0), Heard(None, 1, 9.0, 20.0, right, 1.0, 0.0)]


def test_segments_without_context_are_put_side_by_side() -> None:
    first = Heard(None, 0, 0.0, 10.0, recognition(("one", 1.0, 2.0)))
    second = Heard(None, 1, 10.0, 20.0, recognition(("one", 0.0, 1.0)))
    assert texts(second, first) == ["one", "one"]


def test_a_word_that_both_heard_is_said_once() -> None:
    left = recognition(("before", 8.0, 9.0), ("seam", 9.8, 10.3), ("af", 10.8, 11.0))
    right = recognition(("fore", 0.0, 0.2), ("seam", 0.82, 1.32), ("after", 1.8, 2.4))
    assert texts(*around(left, right)) == ["before seam", "after"]


def test_a_word_that_each_takes_for_the_other_s_is_not_lost() -> None:
    """Its middle lies behind the seam for the one and before it for the other."""
    left = recognition(("before", 8.0, 9.0), ("seam", 9.8, 10.3))
    right = recognition(("seam", 0.6, 1.2), ("after", 1.8, 2.4))
    assert texts(*around(left, right)) == ["before seam", "after"]


def test_a_word_that_each_takes_for_its_own_is_not_doubled() -> None:
    left = recognition(("seam", 9.6, 10.2))
    right = recognition(("seam", 0.8, 1.4), ("after", 1.8, 2.4))
    assert texts(*around(left, right)) == ["seam", "after"]


def test_a_sentence_s_end_makes_no_other_word() -> None:
    left = recognition(("Seam.", 9.6, 10.2))
    right = recognition(("seam", 0.8, 1.4), ("after", 1.8, 2.4))
    assert texts(*around(left, right)) == ["Seam.", "after"]


def test_where_the_two_heard_nothing_alike_each_keeps_what_is_on_its_side() -> None:
    left = recognition(("mine", 9.0, 9.9), ("yours", 10.1, 10.9))
    right = recognition(("my", 0.1, 0.8), ("your", 1.2, 1.9))
    assert texts(*around(left, right)) == ["mine", "your"]


def test_the_same_word_twice_in_a_row_stays_twice() -> None:
    left = recognition(("no", 9.3, 9.6), ("no", 9.8, 10.1), ("no", 10.4, 10.7))
    right = recognition(("no", 0.31, 0.61), ("no", 0.81, 1.11), ("no", 1.41, 1.71), ("yes", 2.0, 2.5))
    assert " ".join(texts(*around(left, right))) == "no no no yes"


def test_a_word_said_twice_around_the_seam_is_neither_lost_nor_doubled() -> None:
    """Of the one before the seam and the one behind it, the two together lie nearest to it."""
    left = recognition(("oh", 8.0, 8.3), ("no", 9.7, 9.95), ("no", 10.05, 10.3))
    right = recognition(("no", 0.7, 0.95), ("no", 1.05, 1.3), ("yes", 2.2, 2.5))
    assert texts(*around(left, right)) == ["oh no", "no yes"]


def test_vowel_signs_make_other_words() -> None:
    left = recognition(("\u0915\u093f", 9.7, 9.9), ("\u0915\u093e", 10.1, 10.3))
    right = recognition(("\u0915\u093f", 0.7, 0.9), ("\u0915\u093e", 1.1, 1.3))
    assert " ".join(texts(*around(left, right))) == "\u0915\u093f \u0915\u093e"


@given(late=st.floats(-0.2, 0.2))
def test_a_word_that_each_spells_otherwise_is_there_once(late: float) -> None:
    left = recognition(("the", 8.2, 8.4), ("colour", 9.8, 10.25))
    right = recognition(("color", 0.8 + late, 1.25 + late), ("is", 2.2, 2.4))
    assert " ".join(texts(*around(left, right))) in {"the colour is", "the color is"}


def test_times_do_not_run_backwards_at_a_seam() -> None:
    left = recognition(("the", 9.9, 10.3), ("dog", 10.3, 10.6))
    right = recognition(("the", 0.5, 0.9), ("dog", 0.9, 1.2), ("ran", 1.2, 1.5))
    (channel,) = assemble(around(left, right), [None])
    times = [time for segment in channel.segments for word in segment.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert [word.text for segment in channel.segments for word in segment.words] == ["the", "dog", "ran"]


def test_a_segment_of_which_nothing_is_left_is_no_segment() -> None:
    left = recognition(("seam", 9.8, 10.3))
    assert texts(*around(left, recognition(("seam", 0.8, 1.3)))) == ["seam"]
    assert texts(*around(recognition(), recognition())) == []


def test_times_and_confidence_are_those_of_what_is_left() -> None:
    left = recognition(("seam", 9.8, 10.3))
    right = Recognition("seam after", (Word("seam", 0.8, 1.3, 0.1), Word("after", 1.8, 2.4, 0.9)), 0.5)
    (channel,) = assemble(around(left, right), [None])
    _, after = channel.segments
    assert (after.start, after.end, after.confidence) == (10.8, 11.4, 0.9)


def test_words_stay_out_of_the_transcript_where_they_are_not_wanted() -> None:
    left, right = recognition(("seam", 9.8, 10.3)), recognition(("seam", 0.8, 1.3), ("after", 1.8, 2.4))
    (channel,) = assemble(around(left, right), [None], words=False)
    assert [(segment.text, segment.words) for segment in channel.segments] == [("seam", ()), ("after", ())]


@given(
    kinds=st.integers(1, 7),
    count=st.integers(0, 60),
    seams=st.lists(st.floats(5.0, 25.0), max_size=4),
    jitter=st.lists(st.floats(-0.08, 0.08), min_size=8, max_size=8),
)
def test_whatever_the_cuts_each_word_that_is_heard_well_is_there_once(
    kinds: int, count: int, seams: list[float], jitter: list[float]
) -> None:
    """Words of 0.4 s with 0.1 s between; a segment hears those that lie whole in it, with times that are a bit off."""
    said = [(f"w{n % kinds}", 0.5 * n, 0.5 * n + 0.4) for n in range(count)]
    edges = [0.0]
    for seam in sorted(seams):
        if seam - edges[-1] > 3.0:
            edges.append(seam)
    edges.append(max(0.5 * count, edges[-1]) + 3.0)
    heard = []
    for index, (begin, end) in enumerate(itertools.pairwise(edges)):
        before, after = float(index > 0), float(index < len(edges) - 2)
        start, stop = begin - before, end + after
        words = [
            (text, max(0.0, a - start + jitter[(n + index) % 8]), b - start + jitter[(n + index) % 8])
            for n, (text, a, b) in enumerate(said)
            if start <= a and b <= stop
        ]
        heard.append(Heard(None, index, start, stop, recognition(*words), before, after))
    assert " ".join(texts(*heard)).split() == [text for text, _, _ in said]
