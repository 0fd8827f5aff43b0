"""Tokens become words by the tokenizer's own rules, with times in order and confidences that belong to them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcription_worker.engines.words import Style, Token, Vocabulary, words_of
from transcription_worker.transcript import Word


def sentencepiece_text(pieces: list[str]) -> str:
    return "".join(pieces).replace("\u2581", " ").strip()


def vocabulary(
    pieces: list[str],
    style: Style = "sentencepiece",
    punctuation: str = "",
    text: Callable[[list[str]], str] = sentencepiece_text,
) -> Vocabulary:
    def decode(ids: list[int]) -> str:
        said = text([pieces[index] for index in ids])
        for mark in punctuation:
            said = said.replace(f" {mark}", mark)
        return said

    return Vocabulary(pieces, style, frozenset(punctuation), decode)


def tokens(*spans: tuple[int, int, int], confidence: float | None = None) -> list[Token]:
    return [Token(index, start, end, confidence) for index, start, end in spans]


def said(
    vocabulary: Vocabulary, *spans: tuple[int, int, int], duration: float = 100.0
) -> list[tuple[str, float, float]]:
    words = words_of(tokens(*spans), vocabulary, frame_seconds=0.5, duration=duration)
    return [(word.text, word.start, word.end) for word in words]


def test_pieces_make_words_that_last_from_the_first_to_the_last() -> None:
    pieces = ["\u2581go", "\u2581le", "ft"]
    assert said(vocabulary(pieces), (0, 2, 4), (1, 10, 11), (2, 12, 13)) == [("go", 1.0, 2.0), ("left", 5.0, 6.5)]


def test_a_pause_belongs_to_no_word() -> None:
    pieces = ["\u2581go", "\u2581stop"]
    assert said(vocabulary(pieces), (0, 0, 1), (1, 100, 101)) == [("go", 0.0, 0.5), ("stop", 50.0, 50.5)]


def test_characters_are_parted_by_spaces() -> None:
    pieces = [" ", "g", "o", "n"]
    spans = [(1, 0, 1), (2, 1, 2), (0, 3, 4), (0, 4, 5), (3, 6, 7), (2, 7, 9), (0, 9, 10)]
    assert said(vocabulary(pieces, "characters", text="".join), *spans) == [("go", 0.0, 1.0), ("no", 3.0, 4.5)]


def test_wordpieces_go_on_after_double_signs() -> None:
    def text(pieces: list[str]) -> str:
        return " ".join(pieces).replace(" ##", "")

    pieces = ["go", "le", "##ft"]
    spans = [(0, 0, 1), (1, 2, 3), (2, 3, 4)]
    assert said(vocabulary(pieces, "wordpiece", text=text), *spans) == [("go", 0.0, 0.5), ("left", 1.0, 2.0)]


@pytest.mark.parametrize("pieces", [["\u2581go", ",", "\u2581on"], ["\u2581go", "\u2581,", "\u2581on"]])
def test_punctuation_belongs_to_the_word_before_and_does_not_lengthen_it(pieces: list[str]) -> None:
    spans = [(0, 0, 2), (1, 8, 9), (2, 10, 11)]
    assert said(vocabulary(pieces, punctuation=","), *spans) == [("go,", 0.0, 1.0), ("on", 5.0, 5.5)]


def test_a_lone_mark_before_punctuation_makes_no_word() -> None:
    pieces = ["\u2581go", "\u2581", ","]
    assert said(vocabulary(pieces, punctuation=","), (0, 0, 2), (1, 3, 4), (2, 4, 5)) == [("go,", 0.0, 1.0)]


def test_a_lone_mark_begins_the_word_that_follows() -> None:
    pieces = ["\u2581", "g", "o"]
    assert said(vocabulary(pieces), (0, 2, 3), (1, 3, 4), (2, 4, 5)) == [("go", 1.0, 2.5)]


def test_a_text_of_punctuation_alone_has_its_times() -> None:
    assert said(vocabulary(["."], punctuation="."), (0, 2, 3)) == [(".", 1.0, 1.5)]


def test_bytes_that_make_a_character_together_are_decoded_together() -> None:
    pieces = ["\u2581go", "<0xC3>", "<0xBC>", "\u2581on"]

    def text(chosen: list[str]) -> str:
        return sentencepiece_text(chosen).replace("<0xC3><0xBC>", "ü").replace("<0xC3>", "\ufffd")

    spans = [(0, 0, 1), (1, 1, 2), (2, 2, 3), (3, 4, 5)]
    assert said(vocabulary(pieces, text=text), *spans) == [("goü", 0.0, 1.5), ("on", 2.0, 2.5)]


def test_a_piece_that_holds_two_words_loses_neither() -> None:
    pieces = ["\u2581of\u2581the", "\u2581sea"]
    assert [word for word, *_ in said(vocabulary(pieces), (0, 0, 2), (1, 3, 4))] == ["of", "the", "sea"]


def test_confidence_is_that_of_the_least_certain_token_that_is_no_punctuation() -> None:
    pieces = ["\u2581le", "ft", ","]
    found = [Token(0, 0, 1, 0.9), Token(1, 1, 2, 0.6), Token(2, 2, 3, 0.1)]
    (word,) = words_of(found, vocabulary(pieces, punctuation=","), frame_seconds=1.0, duration=9.0)
    assert word == Word("left,", 0.0, 2.0, 0.6)


def test_without_confidence_there_is_none() -> None:
    (word,) = words_of(tokens((0, 0, 1)), vocabulary(["\u2581go"]), frame_seconds=1.0, duration=9.0)
    assert word.confidence is None


def test_words_end_where_the_input_ends() -> None:
    assert said(vocabulary(["\u2581go"]), (0, 0, 9), duration=2.0) == [("go", 0.0, 2.0)]
    assert said(vocabulary(["\u2581go"]), (0, 8, 9), duration=2.0) == [("go", 2.0, 2.0)]


def test_a_word_that_runs_into_the_next_ends_where_that_begins() -> None:
    assert said(vocabulary(["\u2581go"]), (0, 0, 4), (0, 2, 5)) == [("go", 0.0, 1.0), ("go", 1.0, 2.5)]


def test_no_tokens_no_words() -> None:
    assert said(vocabulary(["\u2581go"])) == []


PIECES = ["\u2581", "\u2581go", "left", "\u2581,", ",", ".", "\u2581a\u2581b", "'", "e"]


@given(
    st.lists(st.tuples(st.integers(0, len(PIECES) - 1), st.integers(0, 60), st.integers(0, 9))),
    st.floats(0, 40),
)
def test_whatever_is_decoded_the_text_is_kept_and_times_are_in_order(
    found: list[tuple[int, int, int]], duration: float
) -> None:
    meaning = vocabulary(PIECES, punctuation=",.'")
    spans = sorted(((index, start, start + length) for index, start, length in found), key=lambda span: span[1])
    words = words_of(tokens(*spans, confidence=0.5), meaning, frame_seconds=0.5, duration=duration)
    assert " ".join(word.text for word in words) == " ".join(meaning.decode([index for index, *_ in spans]).split())
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert all(0.0 <= time <= duration for time in times)
