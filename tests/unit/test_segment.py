"""Segments: nothing dropped, nothing twice, cut where it is quiet, whatever the blocks were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from transcription_worker.segment import AudioSegment, Segmenter, quietest_point

Samples = NDArray[np.float32]
RATE = 1_000


def segments(
    samples: Samples, max_seconds: float, blocks: list[int] | None = None, rate: int = RATE
) -> list[AudioSegment]:
    """`blocks` are the lengths of the pushes; the rest comes in one more."""
    segmenter = Segmenter(None, rate, max_seconds)
    cut: list[AudioSegment] = []
    position = 0
    for length in [*(blocks or []), len(samples)]:
        cut += segmenter.push(samples[position : position + length])
        position += length
    return cut + segmenter.finish()


def own(segment: AudioSegment) -> Samples:
    """Without what belongs to the neighbours."""
    samples = segment.samples
    return samples[round(segment.before * RATE) : len(samples) - round(segment.after * RATE)]


def noise(length: int, seed: int = 0) -> Samples:
    return np.random.default_rng(seed).normal(scale=0.1, size=length).astype(np.float32)


@settings(max_examples=80, deadline=None)
@given(
    length=st.integers(0, 9_000),
    longest=st.integers(2, 2_000),
    blocks=st.lists(st.integers(0, 3_000), max_size=12),
    seed=st.integers(0, 10),
    silent=st.booleans(),
)
def test_every_sample_belongs_to_exactly_one_segment(
    length: int, longest: int, blocks: list[int], seed: int, silent: bool
) -> None:
    samples = np.zeros(length, np.float32) if silent else noise(length, seed)
    cut = segments(samples, longest / RATE, blocks)
    assert np.array_equal(np.concatenate([np.empty(0, np.float32), *map(own, cut)]), samples)
    assert [s.index for s in cut] == list(range(len(cut)))
    assert all(0 < len(s.samples) <= longest for s in cut)
    starts = np.cumsum([0, *(len(own(s)) for s in cut)])[: len(cut)]
    assert np.allclose([s.start + s.before for s in cut], starts / RATE)
    for s in cut:
        begin = round(s.start * RATE)
        assert np.array_equal(s.samples, samples[begin : begin + len(s.samples)])
    assert [s.before for s in cut] == [0.0, *(s.after for s in cut)][: len(cut)]


@settings(max_examples=40, deadline=None)
@given(length=st.integers(0, 9_000), blocks=st.lists(st.integers(0, 3_000), max_size=12), seed=st.integers(0, 10))
def test_segments_do_not_depend_on_the_blocks(length: int, blocks: list[int], seed: int) -> None:
    samples = noise(length, seed)
    whole, pieces = segments(samples, 1.5), segments(samples, 1.5, blocks)
    assert [len(s.samples) for s in pieces] == [len(s.samples) for s in whole]


@settings(max_examples=40, deadline=None)
@given(length=st.integers(1, 20_000), seed=st.integers(0, 10))
def test_no_segment_is_a_stub(length: int, seed: int) -> None:
    longest = 1_500
    lengths = [len(own(s)) for s in segments(noise(length, seed), longest / RATE)]
    if length > longest:
        assert min(lengths) >= longest // 3


def test_a_recording_that_fits_is_one_segment() -> None:
    samples = noise(30 * RATE)
    (segment,) = segments(samples, 30.0)
    assert segment.start == 0.0
    assert np.array_equal(segment.samples, samples)


def test_a_recording_without_samples_has_no_segment() -> None:
    assert segments(np.empty(0, np.float32), 30.0) == []


def test_cuts_fall_into_the_pauses() -> None:
    rate = 16_000
    samples = noise(100 * rate)
    pauses = [(17.3, 17.9), (24.0, 24.5), (38.0, 38.6), (55.1, 55.6), (77.0, 77.5)]
    for start, end in pauses:
        samples[int(start * rate) : int(end * rate)] *= 0.01
    cut = segments(samples, 30.0, rate=rate)
    for segment in cut[1:]:
        assert any(start + 0.05 < segment.start < end - 0.05 for start, end in pauses), segment.start
    assert all(segment.before == segment.after == 0 for segment in cut), "in a pause no word is cut"


def test_where_there_is_no_pause_both_sides_hear_a_second_of_the_other() -> None:
    cut = segments(noise(100 * RATE), 30.0)
    assert {s.before for s in cut[1:]} == {s.after for s in cut[:-1]} == {1.0}
    assert all(len(s.samples) <= 30 * RATE for s in cut)


def test_noise_twenty_decibels_below_the_speech_is_a_pause() -> None:
    samples = noise(60 * RATE)
    for second in range(5, 60, 10):
        samples[second * RATE : (second + 1) * RATE] *= 0.1
    assert all(s.before == s.after == 0 for s in segments(samples, 30.0))


def test_of_two_silences_the_later_is_taken() -> None:
    samples = noise(60 * RATE)
    samples[17 * RATE : 18 * RATE] = 0
    samples[25 * RATE : 26 * RATE] = 0
    first = segments(samples, 30.0)[0]
    assert 25 < len(first.samples) / RATE < 26


def test_a_short_dip_inside_a_word_does_not_beat_a_pause() -> None:
    rate = 16_000
    samples = noise(40 * rate)
    samples[20 * rate : int(20.06 * rate)] = 0
    samples[int(24.0 * rate) : int(24.4 * rate)] *= 0.05
    assert 24.0 < quietest_point(samples, 15 * rate, 30 * rate, rate) / rate < 24.4


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(40, 60_000),
    rate=st.sampled_from((10, 1_000, 8_000, 16_000, 22_050)),
    seed=st.integers(0, 10),
    data=st.data(),
)
def test_the_quietest_point_is_where_it_is_by_definition(
    length: int, rate: int, seed: int, data: st.DataObject
) -> None:
    samples = noise(length, seed) * np.float32(1 + np.sin(np.arange(length) / 700))
    latest = data.draw(st.integers(1, length))
    earliest = data.draw(st.integers(0, latest))
    unit = max(1, rate // 100)
    candidates = range(latest, earliest - 1, -2 * unit)

    def power(point: int) -> float:
        around = samples[max(0, point - 15 * unit) : point + 15 * unit].astype(np.float64)
        return float(np.mean(around**2))

    found = quietest_point(samples, earliest, latest, rate)
    assert found in candidates
    assert power(found) <= min(map(power, candidates)) * (1 + 1e-5)


def test_silence_is_emitted() -> None:
    assert sum(len(s.samples) for s in segments(np.zeros(100 * RATE, np.float32), 30.0)) == 100 * RATE


def test_holds_no_more_than_one_and_a_half_segments() -> None:
    segmenter = Segmenter(3, RATE, 2.0)
    held = 0
    for _ in range(1_000):
        cut = segmenter.push(noise(100))
        held += 100 - sum(len(s.samples) - round(s.after * RATE) for s in cut)
        assert held <= 3 * RATE
        assert all(s.channel == 3 and s.samples.base is None for s in cut)


def test_segments_of_less_than_two_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter than two samples"):
        Segmenter(None, RATE, 0.001)
