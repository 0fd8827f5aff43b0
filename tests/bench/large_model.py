"""Models of the size of Parakeet 0.6b with random weights: what they hear is noise, what they cost is real."""

from __future__ import annotations

import itertools
import random
import string
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tests.bench.example_speech import speech

Kind = Literal["tdt", "ctc"]

MEL_BANDS = 128
PREDICTOR = 640
PIECES = 1024
FRAMES_PER_TOKEN = 6
"""Frames of 80 ms, as in speech; an untrained decoder says a token at nearly every frame, or never."""
HIGHEST_BIAS = 30.0


def build_model(kind: Kind, path: Path, *, width: int = 1024, layers: int = 24, seed: int = 0) -> None:
    """Write a FastConformer of this size as a .nemo; 1024 and 24 are Parakeet's 0.6 billion parameters, 2.5 GB.

    Args:
        kind: the decoder, a transducer with durations or CTC.
        path: where to; an old file is replaced.
        width: of the encoder, a multiple of 8.
        layers: of the encoder.
        seed: of the weights.
    """
    import torch
    from nemo.collections.asr.models import EncDecCTCModelBPE, EncDecRNNTBPEModel
    from omegaconf import OmegaConf

    from scripts.train_tiny_tdt import train_tokenizer

    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        train_tokenizer(Path(folder), _words(), PIECES)
        config = OmegaConf.create(_configuration(kind, Path(folder), width, layers))
        model = (EncDecRNNTBPEModel if kind == "tdt" else EncDecCTCModelBPE)(cfg=config)
        if kind == "tdt":
            _make_talkative(model, model.joint.joint_net[-1].bias, -int(config.joint.num_extra_outputs) - 1)
        else:
            _make_talkative(model, model.decoder.decoder_layers[0].bias, -1)
        model.save_to(str(path))


def _words() -> list[str]:
    """Enough different ones for so many pieces: of letters, as they come."""
    draw = random.Random(0)
    return ["".join(draw.choices(string.ascii_lowercase, k=draw.randint(2, 9))) for _ in range(5000)]


def _make_talkative(model: Any, bias: Any, blank: int) -> None:
    """Set the bias of the blank so that some seconds of speech have one token in `FRAMES_PER_TOKEN` frames."""
    import torch

    said = torch.from_numpy(np.concatenate(list(itertools.islice(speech(), 2))))[None]
    model.eval()
    with torch.no_grad():
        features, length = model.preprocessor(input_signal=said, length=torch.tensor([said.shape[1]]))
        encoded, frames = model.encoder(audio_signal=features, length=length)

        def tokens() -> int:
            if not hasattr(model, "joint"):
                best = model.decoder(encoder_output=encoded).argmax(-1)
                return int((best != best.new_tensor(bias.shape[0] - 1)).sum())
            (heard,) = model.decoding.rnnt_decoder_predictions_tensor(encoded, frames)
            return len(heard.y_sequence)

        low, high = -HIGHEST_BIAS, HIGHEST_BIAS
        for _ in range(16):
            bias[blank] = (low + high) / 2
            if tokens() * FRAMES_PER_TOKEN > int(frames):
                low = float(bias[blank])
            else:
                high = float(bias[blank])
        bias[blank] = low


def _configuration(kind: Kind, tokenizer: Path, width: int, layers: int) -> dict[str, Any]:
    """The tiny model's layout with Parakeet's sizes."""
    from scripts.train_tiny_tdt import configuration

    config = configuration(tokenizer)
    config["preprocessor"]["features"] = config["encoder"]["feat_in"] = MEL_BANDS
    config["encoder"].update(d_model=width, n_layers=layers, n_heads=8, subsampling_conv_channels=min(256, width))
    config["model_defaults"].update(enc_hidden=width, pred_hidden=PREDICTOR, joint_hidden=PREDICTOR)
    if kind == "tdt":
        config["decoder"]["prednet"].update(pred_hidden=PREDICTOR, pred_rnn_layers=2)
        config["joint"]["jointnet"].update(joint_hidden=PREDICTOR)
    else:
        for name in ("joint", "loss", "model_defaults"):
            del config[name]
        config["decoder"] = {
            "_target_": "nemo.collections.asr.modules.ConvASRDecoder",
            "feat_in": width,
            "num_classes": -1,
            "vocabulary": [],
        }
        config["decoding"] = {"strategy": "greedy"}
    return config
