"""From what the model heard in segments to the transcript of a recording: times of the whole, order, confidence."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from transcription_worker.engines.protocol import Recognition
from transcription_worker.transcript import ChannelTranscript, Segment, Word

Heard = tuple[int | None, int, float, float, Recognition]
"""channel, index of the segment in its channel, start and end in seconds of the whole recording, what was heard."""


def assemble(heard: Iterable[Heard], channels: Iterable[int | None]) -> tuple[ChannelTranscript, ...]:
    """Put segments in order, by channel; segments in which nothing was said are left out.

    Args:
        heard: all segments of the recording, in any order.
        channels: the channels the transcript has, also those on which nothing was said.
    """
    ordered = sorted(heard, key=lambda h: (-1 if h[0] is None else h[0], h[1]))
    by_channel = {channel: list(group) for channel, group in groupby(ordered, key=lambda h: h[0])}
    return tuple(
        ChannelTranscript(channel, tuple(_segment(h) for h in by_channel.get(channel, []) if h[4].text))
        for channel in channels
    )


def _segment(heard: Heard) -> Segment:
    _, _, start, end, recognition = heard
    words = tuple(
        Word(w.text, round(start + w.start, 3), round(min(start + w.end, end), 3), w.confidence)
        for w in recognition.words
    )
    return Segment(
        start=words[0].start if words else round(start, 3),
        end=words[-1].end if words else round(end, 3),
        text=recognition.text,
        confidence=recognition.confidence,
        words=words,
    )
