"""Speech without end and with nothing from outside: twelve minutes of the examples over and over."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from tests.jobs import EXAMPLES

RATE = 16_000
PART_SECONDS = 10


def speech() -> Iterator[NDArray[np.float32]]:
    """In parts of `PART_SECONDS` at `RATE`, for ever."""
    samples, rate = sf.read(EXAMPLES / "audio/long/twelve-minutes.opus", dtype="float32")
    assert rate == RATE
    size = PART_SECONDS * RATE
    yield from itertools.cycle([samples[start : start + size] for start in range(0, len(samples) - size, size)])
