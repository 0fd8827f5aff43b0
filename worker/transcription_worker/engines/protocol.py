"""The small protocol that every ASR engine stands behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from transcription_worker.transcript import Word

Samples = NDArray[np.float32]
"""Mono PCM, shape [n], float32 in -1..1, at the engine's sample rate."""


@dataclass(frozen=True, slots=True)
class Recognition:
    """What the model heard in one input. Word times are seconds from the start of that input; joined by spaces, the
    words are the text."""

    text: str
    words: tuple[Word, ...] = ()
    confidence: float | None = None


class OutOfMemory(Exception):
    """The batch does not fit the device: the caller halves it and goes on."""


class Engine(Protocol):
    """One loaded model. Whoever called `load` calls `transcribe`, on as many threads as the engine has `callers`."""

    sample_rate: int
    """Hz of the samples that `transcribe` takes."""
    name: str
    """The engine and its version, for provenance, such as `nemo 3.0.0`."""
    precision: str
    """What the model computes in: `float32` or `bfloat16`."""
    callers: int
    """How many batches may be in `transcribe` at once, known after `load`: two where the end of one batch leaves CPUs,
    or the GPU, to the beginning of the next."""
    load_seconds: Mapping[str, float]
    """What `load` took, in its order: `torch`, `toolkit`, `weights`, `warm_up`."""

    def load(self) -> None:
        """Import the toolkit and load the model.

        Raises:
            ConfigurationError: the model cannot be used; one sentence.
        """

    def transcribe(self, batch: Sequence[Samples]) -> list[Recognition]:
        """One result per input, in order. Makes no temporary file.

        Raises:
            OutOfMemory: the batch is too large for the device.
        """
