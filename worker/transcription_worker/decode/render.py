"""From a file's PCM to what the model takes: chosen channels, the target rate, clean samples. Pure numpy and soxr."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from transcription_worker.decode.request import Channels
from transcription_worker.decode.source import Pcm

Rendered = NDArray[np.float32]
"""Shape [channels, n], finite, -1..1."""


class Renderer:
    """Streaming; what `push` and `flush` return, joined, does not depend on how the input was cut.

    Args:
        channels: of the input.
        selection: which of them, or their mean. One that is not there is an IndexError on the first push.
        source_rate, target_rate: Hz.
    """

    def __init__(self, channels: int, selection: Channels, source_rate: int, target_rate: int) -> None:
        self.channels = channels if selection == "each" else 1
        self._selection = selection
        self._resampler: soxr.ResampleStream | None = None
        if source_rate != target_rate:
            self._resampler = soxr.ResampleStream(source_rate, target_rate, self.channels, "float32", "HQ")

    def push(self, pcm: Pcm) -> Rendered:
        return self._resample(self._select(clean(pcm)), last=False)

    def flush(self) -> Rendered:
        """The resampler's tail; nothing may be pushed afterwards."""
        return self._resample(np.empty((0, self.channels), np.float32), last=True)

    def _select(self, pcm: Pcm) -> Pcm:
        if self._selection == "each":
            return pcm
        if self._selection == "mix":
            # The mean; numpy's own is five times slower along the short axis.
            return pcm @ np.full((pcm.shape[1], 1), 1 / pcm.shape[1], np.float32)
        index = int(self._selection)
        return pcm[:, index : index + 1]

    def _resample(self, pcm: Pcm, *, last: bool) -> Rendered:
        if self._resampler is not None:
            # The filter rings over full scale at clipped passages.
            resampled: Pcm = self._resampler.resample_chunk(np.ascontiguousarray(pcm), last=last)
            pcm = resampled.clip(-1.0, 1.0)
        return np.ascontiguousarray(pcm.T)


def clean(pcm: Pcm) -> Pcm:
    """NaN and infinities become silence; what is over full scale is clipped.

    Only float files get there. A player clips them as well, and nothing behind this point has to fear a sample: one
    infinity would spread through the resampler's filter, and through a spectrum into the whole recording.
    """
    return np.nan_to_num(pcm, nan=0.0, posinf=0.0, neginf=0.0).clip(-1.0, 1.0)
