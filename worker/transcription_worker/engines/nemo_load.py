"""Bringing a checked .nemo into memory: quietly, without temporary files, without moving the process about.

NeMo's own way unpacks into TMPDIR, changes the working directory of the whole process, fills the model with random
numbers and copies the weights over them. Here nothing is drawn and the weights are mapped from where they lie in the
archive; `tests/bench/bench_load.py` compares the two. What to do with the model is `nemo.py`.
"""

from __future__ import annotations

import inspect
import io
import logging
import sys
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import torch
from huggingface_hub import constants
from omegaconf import DictConfig, OmegaConf, open_dict
from torch._subclasses.fake_tensor import FakeTensorMode

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    # These talk while they are imported.
    for _name in ("nv_one_logger", "OneLogger", "lightning", "pytorch_lightning", "torch.distributed"):
        logging.getLogger(_name).setLevel(logging.ERROR)
    from nemo.collections.asr.models import ASRModel
    from nemo.core.connectors.save_restore_connector import SaveRestoreConnector
    from nemo.utils import logging as nemo_logging
    from nemo.utils import model_utils

from transcription_worker.errors import ConfigurationError
from transcription_worker.nemo_archive import Weights
from transcription_worker.nemo_config import CONFIG

LOCAL_FRAMES = 128
"""How far attention looks to each side where it is local: 10 s of 80 ms each, what NeMo's own documentation takes."""
INITIALIZERS = [name for name in dir(torch.nn.init) if name.endswith("_") and not name.startswith("_")]


def restore(directory: Path, weights: Weights, target: str, *, on_gpu: bool) -> Any:
    """The model of an unpacked archive, on the CPU, in eval mode.

    Args:
        directory: what `nemo_archive.unpack` filled; its files are not needed any more after this.
        weights: what it returned.
        target: the model class that the archive declares.
        on_gpu: whether it will decode there.

    Raises:
        Exception: whatever NeMo and torch raise for a configuration and weights that do not fit together.
    """
    # What goes wrong is raised as well.
    logging.getLogger("nemo_logger").setLevel(logging.CRITICAL)
    nemo_logging.captureWarnings(False)
    model_class = model_utils.import_class_by_path(target)
    connector = MappedWeights(weights, on_gpu=on_gpu)
    connector.model_extracted_dir = str(directory)
    with warnings.catch_warnings(), nothing_drawn(), nothing_fetched():
        warnings.simplefilter("ignore")
        model = model_class.restore_from(
            str(directory), map_location=torch.device("cpu"), save_restore_connector=connector
        )
    model.freeze()
    model.eval()
    return model


def attend(model: Any, attention: Literal["full", "local"], path: Path) -> None:
    """Let the encoder look over its whole input, or only `LOCAL_FRAMES` to each side; the weights stay what they are.

    Raises:
        ConfigurationError: the encoder cannot.
    """
    encoder = model.encoder
    trained = getattr(encoder, "self_attention_model", None)
    kind, reach = {"full": ("rel_pos", -1), "local": ("rel_pos_local_attn", LOCAL_FRAMES)}[attention]
    if trained not in ("rel_pos", "rel_pos_local_attn"):
        raise ConfigurationError(
            f"{path} cannot change its attention: its encoder ({type(encoder).__name__}) has none with relative "
            "positions; leave spec.transcription.attention out."
        )
    if trained == kind:
        return
    with open_dict(encoder._cfg):  # what an archive leaves to the encoder's defaults is looked for here
        for name, parameter in inspect.signature(type(encoder).__init__).parameters.items():
            if parameter.default is not parameter.empty:
                encoder._cfg.setdefault(name, parameter.default)
    model.change_attention_model(kind, [reach, reach])
    model.eval()


def halve_weights(encoder: Any) -> None:
    """Keep the weights of linear layers and convolutions in bfloat16, which autocast computes them in anyway: nothing
    is cast once per batch, and the encoder takes half of the memory. What it computes is the same to the last bit, for
    norms and all else stay as they are."""
    for layer in encoder.modules():
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv1d | torch.nn.Conv2d):
            layer.to(torch.bfloat16)


class MappedWeights(SaveRestoreConnector):  # type: ignore[misc]
    """NeMo's connector, made to stay in its directory and to map the weights in place of copying them."""

    def __init__(self, weights: Weights, *, on_gpu: bool) -> None:
        super().__init__()
        self._weights = weights
        self._on_gpu = on_gpu

    def load_config_and_state_dict(self, calling_cls: type[ASRModel], *_: Any, **__: Any) -> tuple[Any, Any, Any]:
        directory = Path(self.model_extracted_dir)
        config = OmegaConf.load(directory / CONFIG)
        config = for_inference(config.model if "model" in config else config, on_gpu=self._on_gpu)
        calling_cls._set_model_restore_state(is_being_restored=True, folder=str(directory))
        model = calling_cls.from_config_dict(config=config)
        return config, model, mapped(self._weights)

    def load_instance_with_state_dict(self, instance: Any, state_dict: Any, strict: bool) -> None:
        instance.load_state_dict(state_dict, strict=strict, assign=True)
        instance._set_model_restore_state(is_being_restored=False)


def mapped(weights: Weights) -> dict[str, Any]:
    """The state dict of a checkpoint, its tensors mapped from the file; what is written to them stays in memory.

    `torch.load(mmap=True)` wants the checkpoint to be a file of its own. The offsets in it are what torch notes when it
    loads under FakeTensorMode (torch.cuda.gds documents that); torch and tar both align them. It reckons them by how
    it would have written the file: one that was zipped anew is laid out otherwise, and is read.
    """
    there = weights.file.stat().st_size
    size = there - weights.offset if weights.size is None else weights.size
    with weights.file.open("rb") as file:
        part = Part(file, weights.offset, size)
        with FakeTensorMode():
            state = torch.load(part, map_location="cpu", weights_only=True)
        storages = [value.untyped_storage() for value in state.values() if isinstance(value, torch.Tensor)]
        records = records_of(part)
        if any(records.get(storage._checkpoint_offset, 0) < storage.nbytes() for storage in storages):
            part.seek(0)
            return dict(torch.load(part, map_location="cpu", weights_only=True))
    whole = torch.UntypedStorage.from_file(str(weights.file), shared=False, nbytes=there)

    def real(fake: torch.Tensor) -> torch.Tensor:
        storage = fake.untyped_storage()
        start = weights.offset + storage._checkpoint_offset
        tensor = torch.empty(0, dtype=fake.dtype)
        return tensor.set_(whole[start : start + storage.nbytes()], fake.storage_offset(), fake.size(), fake.stride())

    return {name: real(value) if isinstance(value, torch.Tensor) else value for name, value in state.items()}


def records_of(checkpoint: Any) -> dict[int, int]:
    """Where the bytes of each record of a zip begin -> how many they are; nothing where their order is not this
    machine's."""
    records = {}
    with zipfile.ZipFile(checkpoint) as zipped:
        for info in zipped.infolist():
            if info.filename.endswith("/byteorder") and zipped.read(info) != sys.byteorder.encode():
                return {}
            checkpoint.seek(info.header_offset + 26)
            header = checkpoint.read(4)
            lengths = int.from_bytes(header[:2], "little") + int.from_bytes(header[2:], "little")
            records[info.header_offset + 30 + lengths] = info.file_size
    return records


class Part(io.RawIOBase):
    """So many bytes of a file from one on, as if they were a file: torch looks for a zip's directory at the end."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self._file = file
        self._start = start
        self._end = start + size
        file.seek(start)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = max(0, self._end - self._file.tell())
        return self._file.readinto(memoryview(buffer)[:left])  # type: ignore[attr-defined, no-any-return]

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: self._start, io.SEEK_CUR: self._file.tell(), io.SEEK_END: self._end}[whence]
        return self._file.seek(base + offset) - self._start

    def tell(self) -> int:
        return self._file.tell() - self._start


def for_inference(config: DictConfig, *, on_gpu: bool) -> DictConfig:
    """The configuration without what belongs to training, and with greedy decoding that keeps what words need."""
    with open_dict(config):
        for name in ("train_ds", "validation_ds", "test_ds", "optim"):
            config.pop(name, None)
        if "decoding" in config:
            greedily(config.decoding, on_gpu=on_gpu)
        if "aux_ctc" in config and "decoding" in config.aux_ctc:
            greedily(config.aux_ctc.decoding, on_gpu=on_gpu)
    return config


def greedily(decoding: DictConfig, *, on_gpu: bool) -> None:
    """Set a decoding configuration once and for all.

    `exclude_blank` false makes NeMo 3.0.0 record every step. Its loop on the CPU otherwise overwrites the duration of
    a token while it searches on for the neighbours in the batch, so that word ends depend on those
    (NVIDIA-NeMo/NeMo issue 16097). Its loop in CUDA graphs has the fault the other way round: it is right only where
    blanks are not recorded.
    """
    decoding.strategy = "greedy_batch"
    decoding.preserve_alignments = False
    decoding.compute_timestamps = False
    decoding.tdt_include_token_duration = True
    decoding.confidence_cfg = {
        "preserve_frame_confidence": True,
        "exclude_blank": on_gpu,
        "method_cfg": {"name": "max_prob", "alpha": 1.0},
    }
    old = decoding.get("greedy") or {}
    decoding.greedy = {"max_symbols": old.get("max_symbols") or old.get("max_symbols_per_step") or 10}


@contextmanager
def nothing_fetched() -> Iterator[None]:
    """The Hugging Face hub is not asked for anything: a model is what its archive holds."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def nothing_drawn() -> Iterator[None]:
    """Building a layer leaves its weights as they are in memory: the checkpoint sets every one of them (strict)."""

    def keep(tensor: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        return tensor

    drawing = {name: getattr(torch.nn.init, name) for name in INITIALIZERS}
    try:
        for name in drawing:
            setattr(torch.nn.init, name, keep)
        yield
    finally:
        for name, draw in drawing.items():
            setattr(torch.nn.init, name, draw)
