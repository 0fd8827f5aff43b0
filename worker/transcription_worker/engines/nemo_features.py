"""From samples to what a NeMo encoder sees: the model's own preprocessor, made independent of neighbours in a batch.

NeMo normalizes each feature over a row in float32. The sums run over the padded row and come out in another order for
another length of padding. Where a feature hardly varies (the upper bands of a telephone call, a pause) that rounding is
divided by next to nothing, and became other words: a recording of silence was heard as "oet" beside three others, and
otherwise alone. Everything before is the same to the last bit. In float64 the order makes no difference that float32
could show.
"""

from __future__ import annotations

from typing import Any

import torch


class Features:
    """Takes over the preprocessor of a loaded model: no dither, no padding of its own, normalized here."""

    def __init__(self, preprocessor: Any) -> None:
        # Here, for the toolkit is imported before, by `nemo_load.py`, which keeps it from writing to the log.
        from nemo.collections.asr.parts.preprocessing.features import normalize_batch

        self._normalize = normalize_batch
        self._preprocessor = preprocessor
        featurizer = preprocessor.featurizer
        featurizer.dither = 0.0
        featurizer.pad_to = 0
        self._kind = getattr(featurizer, "normalize", None)
        self._pad_value = float(getattr(featurizer, "pad_value", 0.0))
        if self._kind:
            featurizer.normalize = None

    def __call__(self, samples: torch.Tensor, sizes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features [B, D, T] and frames [B] of float32 samples [B, n], of which each row has its size."""
        features, frames = self._preprocessor(input_signal=samples, length=sizes)
        if not self._kind:
            return features, frames
        normalized, _, _ = self._normalize(features.double(), frames, normalize_type=self._kind)
        beyond = torch.arange(features.shape[-1], device=features.device) >= frames.unsqueeze(1)
        return normalized.to(features.dtype).masked_fill(beyond.unsqueeze(1), self._pad_value), frames
