"""Channels, rates and unclean samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from transcription_worker.decode.render import Renderer, clean

Samples = NDArray[np.float32]


def render(renderer: Renderer, pcm: Samples, blocks: list[int] | None = None) -> Samples:
    position, rendered = 0, []
    for length in [*(blocks or []), len(pcm)]:
        rendered.append(renderer.push(pcm[position : position + length]))
        position += length
    return np.concatenate([*rendered, renderer.flush()], axis=1)


def tones(rate: int, seconds: float, *frequencies: float) -> Samples:
    time = np.arange(int(rate * seconds)) / rate
    return np.stack([0.5 * np.sin(2 * np.pi * f * time) for f in frequencies], axis=1).astype(np.float32)


def test_mix_is_the_mean_of_all_channels() -> None:
    pcm = tones(16_000, 0.1, 300, 500, 700)
    assert np.allclose(render(Renderer(3, "mix", 16_000, 16_000), pcm), pcm.mean(axis=1), atol=1e-6)


def test_each_keeps_every_channel_in_its_place() -> None:
    pcm = tones(16_000, 0.1, 300, 500)
    assert np.array_equal(render(Renderer(2, "each", 16_000, 16_000), pcm), pcm.T)


def test_one_channel_by_number() -> None:
    pcm = tones(16_000, 0.1, 300, 500)
    assert np.array_equal(render(Renderer(2, 1, 16_000, 16_000), pcm), pcm.T[1:])


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_a_resampled_tone_stays_the_tone_it_was(rate: int) -> None:
    rendered = render(Renderer(2, "each", rate, 16_000), tones(rate, 1.0, 440, 1_000))
    assert rendered.shape == (2, 16_000)
    # Away from the ends, where the filter sees silence.
    assert np.abs(rendered - tones(16_000, 1.0, 440, 1_000).T)[:, 400:-400].max() < 1e-3


@settings(max_examples=30, deadline=None)
@given(
    length=st.integers(0, 20_000),
    rate=st.sampled_from([8_000, 44_100, 48_000]),
    blocks=st.lists(st.integers(0, 9_000), max_size=6),
)
def test_the_blocks_do_not_matter(length: int, rate: int, blocks: list[int]) -> None:
    pcm = np.random.default_rng(length).uniform(-0.4, 0.4, (length, 2)).astype(np.float32)
    whole = render(Renderer(2, "mix", rate, 16_000), pcm)
    pieces = render(Renderer(2, "mix", rate, 16_000), pcm, blocks)
    assert abs(whole.shape[1] - length * 16_000 / rate) <= 1
    assert pieces.shape == whole.shape
    assert np.allclose(pieces, whole, atol=1e-5)


def test_what_is_no_number_becomes_silence() -> None:
    pcm = np.array([[0.5], [np.nan], [np.inf], [-np.inf], [-0.5]], np.float32)
    assert clean(pcm).ravel().tolist() == [0.5, 0.0, 0.0, 0.0, -0.5]


def test_one_infinity_does_not_spread_through_the_resampler() -> None:
    pcm = tones(48_000, 1.0, 440)
    pcm[24_000] = np.inf
    rendered = render(Renderer(1, "mix", 48_000, 16_000), pcm)
    assert np.isfinite(rendered).all()
    assert np.abs(rendered - tones(16_000, 1.0, 440).T)[:, 400:7_900].max() < 1e-3


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_nothing_leaves_full_scale(rate: int) -> None:
    square = 3 * np.sign(tones(rate, 0.5, 440))
    assert np.abs(render(Renderer(1, "mix", rate, 16_000), square)).max() <= 1.0
