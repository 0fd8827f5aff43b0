"""Train `examples/models/tiny-ctc.nemo`: a real NeMo CTC model of sixteen words, in about three minutes on a CPU.

    python -m scripts.train_tiny_ctc

The network is a QuartzNet made small (Kriman et al. 2020, arXiv:1910.10261): time-channel separable convolutions
with residual blocks over log-mel features, and a character CTC output (Graves et al. 2006). What it is trained on
lives in `tiny_speech.py`, the training itself in `tiny_training.py`.
"""

from __future__ import annotations

from typing import Any

import torch

from scripts.tiny_speech import SAMPLE_RATE, TRAINING, make_utterances
from scripts.tiny_training import (
    HOP,
    FeatureBatch,
    be_deterministic,
    fit,
    make_batches,
    training_arguments,
    write_model,
)

CHARACTERS = " abcdefghijklmnopqrstuvwxyz'"
MEL_BANDS = 40
WIDTH = 96
DILATIONS = (1, 2, 4)
"""One residual block each. Together they hear 1.7 s to either side: a space has to know of the word before a pause."""
WORST_ERROR_RATE = 0.01


def convolution(
    kernel: int, *, stride: int = 1, dilation: int = 1, repeat: int = 1, residual: bool = False, separable: bool = True
) -> dict[str, Any]:
    """One block of NeMo's `ConvASREncoder`."""
    return {
        "filters": WIDTH,
        "kernel": [kernel],
        "stride": [stride],
        "dilation": [dilation],
        "repeat": repeat,
        "dropout": 0.0,
        "residual": residual,
        "separable": separable,
    }


def configuration() -> dict[str, Any]:
    """A prologue that halves the frame rate (to 20 ms), residual blocks, a pointwise epilogue, a linear decoder."""
    modules = "nemo.collections.asr.modules."
    return {
        "sample_rate": SAMPLE_RATE,
        "preprocessor": {
            "_target_": modules + "AudioToMelSpectrogramPreprocessor",
            "sample_rate": SAMPLE_RATE,
            "window_size": 0.025,
            "window_stride": HOP / SAMPLE_RATE,
            "window": "hann",
            "n_fft": 512,
            "features": MEL_BANDS,
            "normalize": "per_feature",
            "dither": 1e-5,
            "pad_to": 0,
        },
        "encoder": {
            "_target_": modules + "ConvASREncoder",
            "feat_in": MEL_BANDS,
            "activation": "relu",
            "conv_mask": True,
            "jasper": [
                convolution(11, stride=2),
                *(convolution(13, dilation=dilation, repeat=2, residual=True) for dilation in DILATIONS),
                convolution(1, separable=False),
            ],
        },
        "decoder": {
            "_target_": modules + "ConvASRDecoder",
            "feat_in": WIDTH,
            "num_classes": len(CHARACTERS),
            "vocabulary": list(CHARACTERS),
        },
        "decoding": {"strategy": "greedy_batch"},
    }


def ctc_loss(model: Any, batch: FeatureBatch) -> torch.Tensor:
    encoded, lengths = model.encoder(audio_signal=batch.features, length=batch.lengths)
    targets = [torch.tensor([CHARACTERS.index(c) for c in u.text]) for u in batch.utterances]
    return model.loss(
        log_probs=model.decoder(encoder_output=encoded),
        targets=torch.nn.utils.rnn.pad_sequence(targets, batch_first=True),
        input_lengths=lengths,
        target_lengths=torch.tensor([len(target) for target in targets]),
    )


def main() -> None:
    arguments = training_arguments(
        "Train the tiny CTC model on synthetic speech.", output="tiny-ctc.nemo", steps=1000, utterances=2240
    )
    from nemo.collections.asr.models import EncDecCTCModel
    from omegaconf import OmegaConf

    utterances = make_utterances(arguments.utterances, arguments.seed, TRAINING)
    be_deterministic(arguments.seed)
    model = EncDecCTCModel(cfg=OmegaConf.create(configuration()))
    batches = make_batches(model, utterances, arguments.seed)
    fit(
        model,
        batches,
        lambda batch: ctc_loss(model, batch),
        steps=arguments.steps,
        peak_rate=6e-3,
        seed=arguments.seed,
    )
    write_model(model, arguments.output, worst_error_rate=WORST_ERROR_RATE)


if __name__ == "__main__":
    main()
