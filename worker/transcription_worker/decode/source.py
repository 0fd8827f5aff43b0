"""One open audio file as PCM, whichever library reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from transcription_worker.decode.request import AudioInfo

Pcm = NDArray[np.float32]
"""Shape [n, channels], full scale is -1..1, at the file's own rate."""


class SourceError(Exception):
    """The library cannot open or go on reading the file; `str()` is its own word for why."""


class Source(Protocol):
    """Read from front to back, once."""

    info: AudioInfo

    def blocks(self) -> Iterator[Pcm]:
        """PCM of about a second or less at a time.

        Raises:
            SourceError: the stream is broken.
        """

    def close(self) -> None: ...
