"""From what the model heard in segments to the transcript of a recording: times of the whole, order, confidence.

Where a cut went through speech both segments heard what is around it. A word that both heard alike there ends the one,
and what follows it begins the other, so that such a word is there once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from unicodedata import category

from transcription_worker.engines.protocol import Recognition
from transcription_worker.transcript import ChannelTranscript, Segment, Word

SAME_WORD_SECONDS = 0.5
"""So far apart may the middles of one word be in two segments: the model's frames and its edges."""

Pairs = tuple[tuple[int, int], ...]
"""Places of words that are the same in two lists."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard in a segment.

    Attributes:
        channel, index: of the segment.
        start, end: of its samples, in seconds of the whole recording.
        before, after: seconds of them that belong to its neighbours.
    """

    channel: int | None
    index: int
    start: float
    end: float
    recognition: Recognition
    before: float = 0.0
    after: float = 0.0


def assemble(
    heard: Iterable[Heard], channels: Iterable[int | None], *, words: bool = True
) -> tuple[ChannelTranscript, ...]:
    """Put segments in order, by channel; segments in which nothing was said are left out.

    Args:
        heard: all segments of the recording, in any order.
        channels: the channels the transcript has, also those on which nothing was said.
        words: whether the transcript has them.
    """
    ordered = sorted(heard, key=lambda h: (-1 if h.channel is None else h.channel, h.index))
    by_channel = {channel: list(group) for channel, group in groupby(ordered, key=lambda h: h.channel)}
    return tuple(
        ChannelTranscript(channel, tuple(_segments(by_channel.get(channel, []), words=words))) for channel in channels
    )


def _segments(heard: Sequence[Heard], *, words: bool) -> Iterable[Segment]:
    said = [_placed(h) for h in heard]
    for i, (left, right) in enumerate(pairwise(heard)):
        if left.after:
            said[i], said[i + 1] = _join(said[i], said[i + 1], right.start, left.end)
    for h, spoken in zip(heard, said, strict=True):
        if segment := _segment(h, spoken, words=words):
            yield segment


def _placed(heard: Heard) -> list[Word]:
    return [
        Word(w.text, round(heard.start + w.start, 3), round(min(heard.start + w.end, heard.end), 3), w.confidence)
        for w in heard.recognition.words
    ]


def _join(left: list[Word], right: list[Word], begin: float, end: float) -> tuple[list[Word], list[Word]]:
    """Two segments that both heard what lies between `begin` and `end`, without what each has too much."""
    middle = (begin + end) / 2
    alike = _alike(
        [(i, word) for i, word in enumerate(left) if word.end > begin],
        [(j, word) for j, word in enumerate(right) if word.start < end],
    )
    if alike:
        i, j = min(alike, key=lambda pair: abs(_middle(left[pair[0]]) + _middle(right[pair[1]]) - 2 * middle))
        left, right = left[: i + 1], right[j + 1 :]
    else:
        between = _between_words([w for w in (*left, *right) if w.end > begin and w.start < end], middle)
        left, right = [w for w in left if _middle(w) < between], [w for w in right if _middle(w) >= between]
    ended = left[-1].end if left else begin
    return left, [replace(w, start=max(w.start, ended), end=max(w.end, ended)) for w in right]


def _alike(left: Sequence[tuple[int, Word]], right: Sequence[tuple[int, Word]]) -> Pairs:
    """Which word of the one is which of the other, in order: as many as can be and as near in time, so that of a word
    said twice each is itself."""
    best: list[tuple[float, Pairs]] = [(0.0, ())] * (len(right) + 1)
    for i, a in left:
        row = best[:1]
        for column, (j, b) in enumerate(right):
            choices = [row[column], best[column + 1]]
            apart = abs(_middle(a) - _middle(b))
            if apart < SAME_WORD_SECONDS and _bare(a.text) == _bare(b.text):
                nearness, pairs = best[column]
                choices.append((nearness + SAME_WORD_SECONDS - apart, (*pairs, (i, j))))
            row.append(max(choices))
        best = row
    return best[-1][1]


def _between_words(heard: Sequence[Word], middle: float) -> float:
    """Near the middle, where the fewest words are cut: one that each heard otherwise is then on one side for both."""

    def cost(at: float) -> float:
        return abs(at - middle) / 10 + sum(max(0.0, min(at - w.start, w.end - at)) for w in heard)

    return min((middle, *(w.start for w in heard), *(w.end for w in heard)), key=cost)


def _bare(text: str) -> str:
    """Whether a sentence ends or begins with a word, a segment hears from what it has of it. Marks are no punctuation:
    in many scripts they are the vowels."""
    return "".join(c for c in text if category(c)[0] not in "PS").casefold() or text


def _middle(word: Word) -> float:
    return (word.start + word.end) / 2


def _segment(heard: Heard, said: Sequence[Word], *, words: bool) -> Segment | None:
    recognition = heard.recognition
    if not said and (recognition.words or not recognition.text):
        return None
    changed = len(said) < len(recognition.words)
    known = [word.confidence for word in said if word.confidence is not None]
    return Segment(
        start=said[0].start if said else round(heard.start, 3),
        end=said[-1].end if said else round(heard.end, 3),
        text=" ".join(word.text for word in said) if changed else recognition.text,
        confidence=(sum(known) / len(known) if known else None) if changed else recognition.confidence,
        words=tuple(said) if words else (),
    )
