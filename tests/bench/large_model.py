"""Models of the size of Parakeet 0.6b with random weights: what they hear is noise, what they cost is real."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Literal

Kind = Literal["tdt", "ctc"]

MEL_BANDS = 128
PREDICTOR = 640
BLANK_BIAS = 6.0
"""Added to the blank of an untrained decoder, which else says a token at nearly every frame: with it about one frame
in six has one, as in speech."""


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
        train_tokenizer(Path(folder))
        config = OmegaConf.create(_configuration(kind, Path(folder), width, layers))
        model = (EncDecRNNTBPEModel if kind == "tdt" else EncDecCTCModelBPE)(cfg=config)
        with torch.no_grad():
            if kind == "tdt":
                durations = int(config.joint.num_extra_outputs)
                model.joint.joint_net[-1].bias[-durations - 1] += BLANK_BIAS
            else:
                model.decoder.decoder_layers[0].bias[-1] += BLANK_BIAS
        model.save_to(str(path))


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
