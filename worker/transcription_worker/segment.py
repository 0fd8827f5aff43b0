"""Long recordings cut into segments that fit the model, at their quietest points. Pure numpy, streaming.

Every sample goes into exactly one segment, in order: nothing is dropped, nothing said twice. Silence is emitted like
anything else; whether a segment holds speech is not decided here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FRAME_SECONDS = 0.02
PAUSE_SECONDS = 0.3
"""Energy is averaged over this long: the cut goes to the middle of a pause rather than into a stop consonant."""

LOOKAHEAD = 1.5
"""A cut is made when this many times the longest segment is there: what follows it is then at least half of one."""


@dataclass(frozen=True, slots=True, eq=False)
class AudioSegment:
    """A stretch of one channel. `start` is seconds from the start of the recording, `samples` float32 of shape [n].

    `channel` is 0-based, None for the mix; `index` counts the segments of the channel from 0.
    """

    channel: int | None
    index: int
    start: float
    samples: NDArray[np.float32]


class Segmenter:
    """Cuts one channel of one recording. The segments do not depend on how the input was cut into pushes.

    A recording of up to `max_seconds` is one segment. From a longer one each segment ends at the quietest point of the
    second half of what is allowed; the last two share their remainder so that neither is shorter than a third of it.
    Holds at most 1.5 times `max_seconds` of audio and one block.

    Args:
        channel: goes into the segments.
        sample_rate: Hz.
        max_seconds: the longest segment.
    """

    def __init__(self, channel: int | None, sample_rate: int, max_seconds: float) -> None:
        self._channel = channel
        self._rate = sample_rate
        self._longest = int(max_seconds * sample_rate)
        if self._longest < 2:
            raise ValueError(f"segments of {max_seconds} s at {sample_rate} Hz are shorter than two samples")
        self._lookahead = int(LOOKAHEAD * self._longest)
        self._blocks: list[NDArray[np.float32]] = []
        self._held = 0
        self._emitted = 0
        self._index = 0

    def push(self, block: NDArray[np.float32]) -> list[AudioSegment]:
        """Take the next samples, shape [n] with any n; returns the segments that are complete now."""
        self._blocks.append(block)
        self._held += len(block)
        segments = []
        while self._held > self._lookahead:
            segments.append(self._cut(self._longest // 2, self._longest))
        return segments

    def finish(self) -> list[AudioSegment]:
        """The rest, in one or two segments; none for a recording without samples."""
        segments = []
        if self._held > self._longest:
            third = self._held // 3
            segments.append(self._cut(max(third, self._held - self._longest), min(self._held - third, self._longest)))
        if self._held:
            segments.append(self._cut(self._held, self._held))
        return segments

    def _cut(self, earliest: int, latest: int) -> AudioSegment:
        held = np.concatenate(self._blocks)
        end = earliest if earliest == latest else quietest_point(held, earliest, latest, self._rate)
        # Copies: a view would keep all that is held alive for as long as the segment lives.
        segment = AudioSegment(self._channel, self._index, self._emitted / self._rate, held[:end].copy())
        self._blocks = [held[end:].copy()]
        self._held -= end
        self._emitted += end
        self._index += 1
        return segment


def quietest_point(samples: NDArray[np.float32], earliest: int, latest: int, sample_rate: int) -> int:
    """The index in [earliest, latest] around which `PAUSE_SECONDS` have the least energy; the latest of equals.

    Looks at frames of `FRAME_SECONDS`; near the ends of `samples` the average is over what is there.
    """
    frame = max(1, int(FRAME_SECONDS * sample_rate))
    half_pause = max(1, int(PAUSE_SECONDS * sample_rate / 2))
    candidates = np.arange(latest, earliest - 1, -frame)
    first = max(0, earliest - half_pause)
    power = np.square(samples[first : latest + half_pause], dtype=np.float64)
    summed = np.concatenate(([0.0], np.cumsum(power)))
    starts = np.maximum(candidates - half_pause - first, 0)
    ends = np.minimum(candidates + half_pause - first, len(power))
    energy = (summed[ends] - summed[starts]) / (ends - starts)
    return int(candidates[np.argmin(energy)])
