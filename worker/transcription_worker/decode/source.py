"""One open audio file as PCM, whichever library reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from transcription_worker.decode.request import AudioInfo

Pcm = NDArray[np.float32]
"""Shape [n, channels], full scale is -1..1, at the file's own rate."""

BLOCK_SAMPLES = 1 << 20
"""No block need be larger, over all its channels: a second of 64 channels at 768 kHz takes 200 MB, and each step from
reading to resampling takes it again."""


def block_frames(rate: int, channels: int) -> int:
    """How many frames a block holds: those of a second at `rate`, or less where there are so many channels."""
    return max(1, min(rate, BLOCK_SAMPLES // channels))


class SourceError(Exception):
    """The library cannot open or go on reading the file; `str()` is its own word for why."""


class Source(Protocol):
    """Read from front to back, once."""

    info: AudioInfo

    def blocks(self) -> Iterator[Pcm]:
        """PCM of about `block_frames` at a time; more only where the library gives it in one piece.

        Raises:
            SourceError: the stream is broken.
        """

    def close(self) -> None: ...
