"""Words with times, cleaned for text formats, also where the model gave no word times.

The .json holds what the model said, character for character; the formats for people and scorers are made from this.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from transcription_worker.transcript import ChannelTranscript, Segment, Word

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufeff]")
"""Control characters, lone surrogates (not encodable) and the byte order mark. Joiners and direction marks stay:
Persian and the Indic scripts are spelled with them."""


def printable(text: str) -> list[str]:
    """The words of `text`: no whitespace, no line break, no control character, none of them empty."""
    return [word for word in (_UNPRINTABLE.sub("", part) for part in text.split()) if word]


def timed_words(channel: ChannelTranscript) -> list[Word]:
    """Every word of a channel in order; times in seconds of the whole recording.

    Where a segment has no word times, its own time is spread over the characters of its text, and each word has the
    segment's confidence.
    """
    return [word for segment in channel.segments for word in _segment_words(segment)]


def spread(parts: Sequence[str], start: float, end: float, confidence: float | None) -> Iterator[Word]:
    """`parts` one after the other in `start`..`end`, each as long as its share of the characters."""
    total = sum(map(len, parts))
    said = 0
    for part in parts:
        begin = start + (end - start) * said / total
        said += len(part)
        yield Word(part, begin, start + (end - start) * said / total, confidence)


def _segment_words(segment: Segment) -> Iterator[Word]:
    if not segment.words:
        yield from spread(printable(segment.text), segment.start, segment.end, segment.confidence)
    for word in segment.words:
        if word.text.isprintable() and word.text and " " not in word.text:
            yield word
            continue
        yield from spread(printable(word.text), word.start, word.end, word.confidence)
