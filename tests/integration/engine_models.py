"""Models and speech for the tests of the engine: small ones with random weights, and a watch on directories."""

from __future__ import annotations

import ctypes
import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MODELS = Path(__file__).parents[2] / "examples" / "models"
TINY_CTC = MODELS / "tiny-ctc.nemo"
TINY_TDT = MODELS / "tiny-tdt.nemo"

WIDTH = 32
ASR = "nemo.collections.asr.modules."
IN_CREATE = 0x100
IN_MOVED_TO = 0x80


def random_transducer(place: Path, *, hybrid: bool = False, characters: bool = False) -> Path:
    """A FastConformer RNNT, or RNNT and CTC on one encoder, that was never trained: it writes much, and nonsense."""
    import torch
    from nemo.collections.asr import models
    from omegaconf import OmegaConf

    labels = [" ", *"abcdefghijklmnopqrstuvwxyz"]
    config: dict[str, Any] = {
        "sample_rate": 16_000,
        "model_defaults": {"enc_hidden": WIDTH, "pred_hidden": WIDTH, "joint_hidden": WIDTH},
        "preprocessor": {
            "_target_": f"{ASR}AudioToMelSpectrogramPreprocessor",
            "sample_rate": 16_000,
            "window_size": 0.025,
            "window_stride": 0.01,
            "features": 40,
            "n_fft": 512,
        },
        "encoder": {
            "_target_": f"{ASR}ConformerEncoder",
            "feat_in": 40,
            "n_layers": 1,
            "d_model": WIDTH,
            "subsampling": "dw_striding",
            "subsampling_factor": 8,
            "subsampling_conv_channels": WIDTH,
            "n_heads": 2,
            "conv_kernel_size": 9,
        },
        "decoder": {"_target_": f"{ASR}RNNTDecoder", "prednet": {"pred_hidden": WIDTH, "pred_rnn_layers": 1}},
        "joint": {
            "_target_": f"{ASR}RNNTJoint",
            "fuse_loss_wer": False,
            "jointnet": {"joint_hidden": WIDTH, "activation": "relu"},
        },
        "loss": {"loss_name": "default"},
        "decoding": {"strategy": "greedy_batch", "greedy": {"max_symbols": 2}},
    }
    if hybrid:
        config["aux_ctc"] = {
            "ctc_loss_weight": 0.3,
            "decoder": {"_target_": f"{ASR}ConvASRDecoder", "feat_in": WIDTH, "num_classes": -1, "vocabulary": []},
            "decoding": {"strategy": "greedy"},
        }
    if characters:
        config["labels"] = labels
        config["joint"]["num_classes"] = config["decoder"]["vocab_size"] = len(labels)
        config["joint"]["vocabulary"] = labels
    else:
        tokenizer = place.parent / f"{place.stem}-tokenizer"
        tokenizer.mkdir()
        _train_tokenizer(tokenizer)
        config["tokenizer"] = {"dir": str(tokenizer), "type": "bpe"}
    classes = {
        (False, False): models.EncDecRNNTBPEModel,
        (True, False): models.EncDecHybridRNNTCTCBPEModel,
        (False, True): models.EncDecRNNTModel,
    }
    torch.manual_seed(0)
    model = classes[hybrid, characters](cfg=OmegaConf.create(config))
    with torch.no_grad():  # blanks are rare, so that there is something to compare
        model.joint.joint_net[-1].bias[-1] -= 0.5
    model.eval()
    model.save_to(str(place))
    return place


def _train_tokenizer(folder: Path) -> None:
    import sentencepiece

    written = io.BytesIO()
    words = ["left right stop go", "one two three four five six seven eight nine zero", "yes no"] * 40
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words), model_writer=written, model_type="bpe", vocab_size=40, minloglevel=2
    )
    pieces = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    vocabulary = [pieces.id_to_piece(index) for index in range(pieces.get_piece_size())]
    (folder / "tokenizer.model").write_bytes(written.getvalue())
    (folder / "vocab.txt").write_text("\n".join(vocabulary[1:]) + "\n")
    (folder / "tokenizer.vocab").write_text("".join(f"{piece}\t0\n" for piece in vocabulary))


@contextmanager
def created_in(*directories: Path) -> Iterator[list[str]]:
    """The names of everything that is created directly in the directories during the block, also where it is gone
    again at its end: told by the kernel (inotify(7)), so that native code is seen too."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert descriptor >= 0
    names: list[str] = []
    try:
        for directory in directories:
            assert libc.inotify_add_watch(descriptor, os.fsencode(directory), IN_CREATE | IN_MOVED_TO) >= 0
        yield names
        names.extend(_events(descriptor))
    finally:
        os.close(descriptor)


def _events(descriptor: int) -> Iterator[str]:
    while True:
        try:
            body = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return
        while body:
            length = struct.unpack_from("iIII", body)[3]
            yield body[16 : 16 + length].rstrip(b"\0").decode()
            body = body[16 + length :]
