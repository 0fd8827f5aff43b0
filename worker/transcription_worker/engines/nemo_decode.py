"""From the encoder's output to tokens: one head for CTC, one for transducers (RNNT and TDT). Words are `words.py`.

A head takes the chunks of a batch, each encoded frames of shape [B, D, T] and their lengths [B]. What it finds is on
the CPU when it returns; called, that gives the tokens of each row, in their order, and needs the model no more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from transcription_worker.engines.words import Style, Token, Vocabulary

Encoded = tuple[torch.Tensor, torch.Tensor]
Found = Callable[[], list[list[Token]]]


class CtcHead:
    """Greedy CTC: the likeliest label of each frame, repeats merged, blanks dropped (Graves et al., 2006)."""

    def __init__(self, decoder: Any, decoding: Any) -> None:
        self._decoder = decoder
        self._blank = int(decoding.blank_id)
        self.vocabulary = vocabulary_of(decoding)

    def __call__(self, chunks: Sequence[Encoded]) -> Found:
        rows = [row for encoded, lengths in chunks for row in self._rows(encoded, lengths)]
        return lambda: [self._collapse(labels, certainty) for labels, certainty in rows]

    def _rows(
        self, encoded: torch.Tensor, lengths: torch.Tensor
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        log_probabilities = self._decoder(encoder_output=encoded)
        best, labels = log_probabilities.max(dim=-1)
        guess = 1.0 / log_probabilities.shape[-1]
        certainty = ((best.float().exp() - guess) / (1.0 - guess)).clamp(0.0, 1.0).cpu().numpy()
        rows = zip(labels.cpu().numpy(), certainty, lengths.tolist(), strict=True)
        return [(row[:length], sure[:length]) for row, sure, length in rows]

    def _collapse(self, labels: NDArray[np.int64], certainty: NDArray[np.float32]) -> list[Token]:
        if not len(labels):
            return []
        starts = np.concatenate(([0], np.flatnonzero(labels[1:] != labels[:-1]) + 1))
        ends = np.append(starts[1:], len(labels))
        peaks = np.maximum.reduceat(certainty, starts)
        return [
            Token(int(labels[start]), int(start), int(end), float(peak))
            for start, end, peak in zip(starts, ends, peaks, strict=True)
            if labels[start] != self._blank
        ]


class TransducerHead:
    """NeMo's label-looping greedy search for RNNT and TDT (Bataev et al., 2024; Xu et al., 2023).

    An RNNT says in which frame a token was written and not how long it lasts: it then counts for one frame.
    """

    def __init__(self, decoding: Any) -> None:
        self._decoding = decoding
        self.vocabulary = vocabulary_of(decoding)

    def __call__(self, chunks: Sequence[Encoded]) -> Found:
        encoded, lengths = _joined(chunks)
        hypotheses = self._decoding.rnnt_decoder_predictions_tensor(
            encoder_output=encoded, encoded_lengths=lengths, return_hypotheses=True
        )
        return lambda: [self._tokens(hypothesis) for hypothesis in hypotheses]

    def _tokens(self, hypothesis: Any) -> list[Token]:
        ids = _integers(hypothesis.y_sequence)
        frames = _integers(hypothesis.timestamp)
        durations = _integers(hypothesis.token_duration) or [1] * len(ids)
        certainty = hypothesis.non_blank_step_confidence_precomputed
        if certainty is None or len(certainty) != len(ids):
            certainty = [None] * len(ids)
        known = len(self.vocabulary.pieces)  # beyond these lie blanks
        return [
            Token(index, frame, frame + duration, None if sure is None else min(max(float(sure), 0.0), 1.0))
            for index, frame, duration, sure in zip(ids, frames, durations, certainty, strict=True)
            if index < known
        ]


def _joined(chunks: Sequence[Encoded]) -> Encoded:
    """One batch again: a search takes as many steps as its longest row, so all rows had better take them together."""
    if len(chunks) == 1:
        return chunks[0]
    longest = max(encoded.shape[-1] for encoded, _ in chunks)
    padded = [torch.nn.functional.pad(encoded, (0, longest - encoded.shape[-1])) for encoded, _ in chunks]
    return torch.cat(padded), torch.cat([lengths for _, lengths in chunks])


def _integers(values: Any) -> list[int]:
    """A tensor or a list of numbers or of tensors, as plain numbers; NeMo has them all, and None. A tensor in one go:
    each of its elements would be made a tensor of its own."""
    if isinstance(values, torch.Tensor):
        values = values.tolist()
    return [int(value) for value in (values if values is not None else ())]


def vocabulary_of(decoding: Any) -> Vocabulary:
    """The vocabulary of a NeMo decoding object, without its blank."""
    tokenizer = getattr(decoding, "tokenizer", None)
    size = tokenizer.vocab_size if tokenizer is not None else len(decoding.labels_map)
    pieces = [str(decoding.decode_ids_to_tokens([index])[0]) for index in range(size)]
    styles: dict[str, Style] = {"char": "characters", "bpe": "sentencepiece", "wpe": "wordpiece"}
    return Vocabulary(
        pieces=pieces,
        style=styles[decoding.tokenizer_type],
        punctuation=frozenset(decoding.supported_punctuation or ()),
        decode=decoding.decode_tokens_to_str_with_strip_punctuation,
    )
