"""Subtitle cues from words: what is shown together, for how long, and where its line breaks.

The figures are those of broadcasters: Netflix, "Timed Text Style Guide: General Requirements" and "English (USA)"
(42 characters, two lines, 5/6 s to 7 s, 20 characters per second, two frames between cues); the BBC's "Subtitle
Guidelines" set the same kinds of limits (37 characters for teletext) and say where to break. Pure functions; how cues
are written stands in srt.py and vtt.py.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from transcription_worker.formats.timed import spread, timed_words
from transcription_worker.transcript import ChannelTranscript, Word

LINE_COLUMNS = 42
"""Characters in a line; an East Asian wide character counts as two."""
SHORTEST_SECONDS = 5 / 6
LONGEST_SECONDS = 7.0
COLUMNS_PER_SECOND = 20
GAP_MS = 83
"""Two frames at 24 frames per second, so that the eye notices a new cue."""
CHAIN_MS = 500
"""A shorter gap looks like a flicker: the cue stays until GAP_MS before the next one."""
PAUSE_SECONDS = 1.0
"""A silence after which a new cue starts in any case."""

_SENTENCE_END = re.compile(r"[.?!…。？！؟।]+[\"'”’»)\]]*$")
_CLAUSE_END = re.compile(r"[,;:،、，；：–—]+[\"'”’»)\]]*$")
_AFTER_WIDE_PUNCTUATION = re.compile(r"(?<=[。？！、，；：])")
_NO_SENTENCE_END = re.compile(r"(mrs?|ms|dr|st|prof|sr|jr|vs|[a-hj-z](\.[a-z])*)\.$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Cue:
    """One subtitle: `start` < `end` in milliseconds of the recording, one or two lines."""

    start: int
    end: int
    lines: tuple[str, ...]


class _Piece(NamedTuple):
    """A word, or a part of one that is too long for a line; `space` is what stands before it within a line."""

    text: str
    start: float
    end: float
    space: str
    columns: int
    ends: str
    """`sentence` or `clause` where its punctuation ends one, else empty."""


_Group = list[_Piece]


def cues(channel: ChannelTranscript) -> list[Cue]:
    """The cues of one channel, in order, none overlapping; every word is in exactly one of them.

    A cue holds at most two lines of LINE_COLUMNS, ends with its sentence where that fits, else at a pause or a comma,
    and stands as long as reading takes, as far as the next cue leaves time for it.
    """
    pieces = [piece for word in timed_words(channel) for piece in _pieces(word)]
    groups = [part for sentence in _sentences(pieces) for part in _split(sentence)]
    return _timed(_join_hurried(groups))


def timestamp(milliseconds: int, decimal_mark: str) -> str:
    """`HH:MM:SS,mmm`; hours grow beyond two digits where they have to."""
    seconds, millis = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{decimal_mark}{millis:03d}"


def columns(text: str) -> int:
    """Width of `text` in a monospaced font (Unicode Standard Annex 11); combining marks take none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _pieces(word: Word) -> Iterator[_Piece]:
    width = columns(word.text)
    if width <= LINE_COLUMNS:
        yield _Piece(word.text, word.start, word.end, " ", width, _what_ends(word.text))
        return
    space = " "
    for part in spread(list(_line_sized(word.text)), word.start, word.end, None):
        yield _Piece(part.text, part.start, part.end, space, columns(part.text), _what_ends(part.text))
        space = ""


def _what_ends(text: str) -> str:
    if text[-1].isalnum():
        return ""
    return "sentence" if _SENTENCE_END.search(text) else "clause" if _CLAUSE_END.search(text) else ""


def _line_sized(text: str) -> Iterator[str]:
    """A word wider than a line, as scripts without spaces have it, in parts that fit, cut at its punctuation."""
    for clause in _AFTER_WIDE_PUNCTUATION.split(text):
        begin, width = 0, 0
        for position, character in enumerate(clause):
            width += columns(character)
            if width > LINE_COLUMNS:
                yield clause[begin:position]
                begin, width = position, columns(character)
        if clause[begin:]:
            yield clause[begin:]


def _sentences(pieces: Sequence[_Piece]) -> Iterator[_Group]:
    sentence: _Group = []
    for piece in pieces:
        if sentence and (_pause(sentence[-1], piece) >= PAUSE_SECONDS or _ends_sentence(sentence[-1], piece)):
            yield sentence
            sentence = []
        sentence.append(piece)
    if sentence:
        yield sentence


def _ends_sentence(piece: _Piece, following: _Piece) -> bool:
    return piece.ends == "sentence" and not following.text[0].islower() and _NO_SENTENCE_END.match(piece.text) is None


def _pause(piece: _Piece, following: _Piece) -> float:
    return following.start - piece.end


def _width(group: Sequence[_Piece]) -> int:
    return sum(p.columns + len(p.space) for p in group) - len(group[0].space)


def _split(group: _Group) -> Iterator[_Group]:
    """`group` in parts of about one length that each fit a cue, cut where a listener would."""
    if _fits(group):
        yield group
        return
    width = _width(group)
    duration = group[-1].end - group[0].start
    # Two lines are seldom both full: plan with nine tenths of them.
    parts = max(2, -(-width // int(2 * LINE_COLUMNS * 0.9)), int(-(-duration // LONGEST_SECONDS)))
    target = (parts // 2) / parts
    best, best_cost, left = 1, float("inf"), 0
    for i in range(1, len(group)):
        left += group[i - 1].columns + len(group[i - 1].space)
        # Either what is read or what is heard may be too long: cut in the middle of both.
        heard = (group[i].start - group[0].start) / duration if duration > 0 else target
        cost = abs(left / width - target) + abs(heard - target) - _break_bonus(group[i - 1], group[i])
        if cost < best_cost:
            best, best_cost = i, cost
    yield from _split(group[:best])
    yield from _split(group[best:])


def _break_bonus(piece: _Piece, following: _Piece) -> float:
    """How good it is to break here: after punctuation, in a pause, and not after a word of up to three letters, which
    in European languages mostly belongs to what follows (articles, prepositions, conjunctions)."""
    pause = 0.6 * min(max(_pause(piece, following), 0.0), PAUSE_SECONDS)
    if piece.ends:
        return 0.3 + pause
    return pause - 0.25 if len(piece.text) <= 3 else pause


def _fits(group: _Group) -> bool:
    if len(group) == 1:
        return True
    return group[-1].end - group[0].start <= LONGEST_SECONDS and _lines(group) is not None


def _lines(group: Sequence[_Piece]) -> tuple[str, ...] | None:
    """One line, or two of about one length with the longer one below; None where two do not hold it."""
    width = _width(group)
    if width <= LINE_COLUMNS:
        return (_joined(group),)
    if width > 2 * LINE_COLUMNS + 1:
        return None
    best, best_cost, above = 0, float("inf"), -len(group[0].space)
    for i in range(1, len(group)):
        above += group[i - 1].columns + len(group[i - 1].space)
        below = width - above - len(group[i].space)
        if above > LINE_COLUMNS or below > LINE_COLUMNS:
            continue
        cost = abs(above - below) + 4 * (above > below) - 40 * _break_bonus(group[i - 1], group[i])
        if cost < best_cost:
            best, best_cost = i, cost
    return (_joined(group[:best]), _joined(group[best:])) if best else None


def _joined(group: Sequence[_Piece]) -> str:
    return group[0].text + "".join(p.space + p.text for p in group[1:])


def _reading_seconds(group: Sequence[_Piece]) -> float:
    return min(LONGEST_SECONDS, max(SHORTEST_SECONDS, _width(group) / COLUMNS_PER_SECOND))


def _join_hurried(groups: Sequence[_Group]) -> list[_Group]:
    """Put a cue that nobody could read in its time together with its neighbour, where both fit one cue."""
    joined: list[_Group] = []
    for i, group in enumerate(groups):
        until = groups[i + 1][0].start if i + 1 < len(groups) else float("inf")
        if joined and (_hurried(joined[-1], group[0].start) or _hurried(group, until)):
            both = joined[-1] + group
            if _pause(joined[-1][-1], group[0]) < PAUSE_SECONDS and _fits(both):
                joined[-1] = both
                continue
        joined.append(group)
    return joined


def _hurried(group: _Group, until: float) -> bool:
    return until - GAP_MS / 1000 - group[0].start < _reading_seconds(group)


def _timed(groups: Sequence[_Group]) -> list[Cue]:
    done: list[Cue] = []
    for i, group in enumerate(groups):
        start = round(group[0].start * 1000)
        if done:
            start = max(start, done[-1].end + GAP_MS)
        latest = start + round(LONGEST_SECONDS * 1000)
        if i + 1 < len(groups):
            latest = min(latest, round(groups[i + 1][0].start * 1000) - GAP_MS)
        end = max(round(group[-1].end * 1000), start + round(_reading_seconds(group) * 1000))
        if end > latest - CHAIN_MS + GAP_MS and i + 1 < len(groups):
            end = latest
        # Words that all have one time leave no room: show them one after the other.
        end = max(min(end, latest), start + GAP_MS)
        done.append(Cue(start, end, _lines(group) or (_joined(group),)))
    return done
