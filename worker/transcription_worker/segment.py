"""Long recordings cut into segments that fit the model, at their quietest points. Pure numpy, streaming.

Every sample belongs to exactly one segment, in order: nothing is dropped. Silence is emitted like anything else;
whether a segment holds speech is not decided here. Where even the quietest point is no pause, the cut may go through a
word: both segments then come with a stretch of the other as context (`assemble.py` joins them).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNIT_SECONDS = 0.01
"""Energy is summed over so much at a time."""
PAUSE_UNITS = 30
PAUSE_SECONDS = PAUSE_UNITS * UNIT_SECONDS
"""Energy is averaged over this long: the cut goes to the middle of a pause rather than into a stop consonant."""
PAUSE_POWER = 1 / 64
"""A pause has no more of the power around it: 18 dB less. Noise 20 dB below the speech is one; between words that are
spoken without a pause the power falls by 7 to 17 dB."""

LOOKAHEAD = 1.5
"""A cut is made when this many times the longest segment is there: what follows it is then at least half of one."""
CONTEXT_SECONDS = 1.0
"""On each side of a cut that is in no pause: few words are longer."""
LARGEST_CONTEXT = 1 / 8
"""Of the longest segment."""


@dataclass(frozen=True, slots=True, eq=False)
class AudioSegment:
    """A stretch of one channel, and where it goes on into its neighbours.

    Attributes:
        channel: 0-based, None for the mix.
        index: counts the segments of the channel from 0.
        start: seconds from the start of the recording to the first sample.
        samples: float32 of shape [n], with what belongs to the neighbours.
        before, after: seconds of it that belong to the segment before and to the one after.
    """

    channel: int | None
    index: int
    start: float
    samples: NDArray[np.float32]
    before: float = 0.0
    after: float = 0.0


class Segmenter:
    """Cuts one channel of one recording. The segments do not depend on how the input was cut into pushes.

    A recording of up to `max_seconds` is one segment. From a longer one each segment ends at the quietest point of the
    second half of what is allowed; the last two share their remainder so that neither is shorter than a third of it.
    Holds at most 1.5 times `max_seconds` of audio and one block.

    Args:
        channel: goes into the segments.
        sample_rate: Hz.
        max_seconds: the longest segment, context included.
    """

    def __init__(self, channel: int | None, sample_rate: int, max_seconds: float) -> None:
        self._channel = channel
        self._rate = sample_rate
        self._longest = int(max_seconds * sample_rate)
        if self._longest < 2:
            raise ValueError(f"segments of {max_seconds} s at {sample_rate} Hz are shorter than two samples")
        self._lookahead = int(LOOKAHEAD * self._longest)
        self._context = int(min(CONTEXT_SECONDS * sample_rate, LARGEST_CONTEXT * self._longest))
        self._blocks: list[NDArray[np.float32]] = []
        self._held = 0
        self._before = 0
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
            segments.append(self._segment(np.concatenate(self._blocks), self._held, 0))
            self._blocks, self._held = [], 0
        return segments

    def _cut(self, earliest: int, latest: int) -> AudioSegment:
        held = np.concatenate(self._blocks)
        end, context = quietest_point(held, earliest, latest, self._rate), 0
        if self._context and not is_pause(held[: self._lookahead], end, self._rate):
            context = self._context
            end = quietest_point(held, earliest + context, latest - context, self._rate)
        segment = self._segment(held, end, context)
        # A copy: a view would keep all that is held alive for as long as the segment lives.
        self._blocks = [held[end - context :].copy()]
        self._held -= end - context
        self._before = context
        return segment

    def _segment(self, held: NDArray[np.float32], end: int, after: int) -> AudioSegment:
        segment = AudioSegment(
            self._channel,
            self._index,
            self._emitted / self._rate,
            held[: end + after].copy(),
            self._before / self._rate,
            after / self._rate,
        )
        self._emitted += end - after
        self._index += 1
        return segment


def is_pause(samples: NDArray[np.float32], point: int, sample_rate: int) -> bool:
    """Whether `PAUSE_SECONDS` around a point are as quiet as a pause in what is there."""
    half = PAUSE_UNITS * _unit(sample_rate) // 2
    here = samples[max(0, point - half) : point + half]
    return _energy(here) / len(here) <= PAUSE_POWER * _energy(samples) / len(samples)


def quietest_point(samples: NDArray[np.float32], earliest: int, latest: int, sample_rate: int) -> int:
    """The index in [earliest, latest] around which `PAUSE_SECONDS` have the least energy; the latest of equals.

    Looks at every second `UNIT_SECONDS`; near the ends of `samples` the average is over what is there.
    """
    unit = _unit(sample_rate)
    half = PAUSE_UNITS * unit // 2
    candidates = np.arange(latest, earliest - 1, -2 * unit)
    first, last = int(candidates[-1]) - half, latest + half
    looked_at = samples[max(0, first) : last]
    if len(looked_at) < last - first:
        looked_at = np.pad(looked_at, (max(0, -first), max(0, last - len(samples))))
    units = looked_at.reshape(-1, unit)
    summed = np.concatenate(([0.0], np.cumsum(np.einsum("ij,ij->i", units, units), dtype=np.float64)))
    start = (candidates - half - first) // unit
    lengths = np.minimum(candidates + half, len(samples)) - np.maximum(candidates - half, 0)
    energy = (summed[start + PAUSE_UNITS] - summed[start]) / lengths
    return int(candidates[np.argmin(energy)])


def _unit(sample_rate: int) -> int:
    return max(1, int(UNIT_SECONDS * sample_rate))


def _energy(samples: NDArray[np.float32]) -> float:
    """The sum of the squares: float32 over stretches of a thousand, so that it is quick, and float64 over those."""
    whole = len(samples) // 1000 * 1000
    stretches = samples[:whole].reshape(-1, 1000)
    rest = samples[whole:]
    return float(np.einsum("ij,ij->i", stretches, stretches).sum(dtype=np.float64) + np.einsum("i,i->", rest, rest))
