"""NVIDIA NeMo behind the engine's protocol: CTC, RNNT, TDT and hybrid models, arrays in, plain words out.

NeMo's `transcribe()` is not used: it makes a directory per call, leaves modules in training mode, keeps the log
probabilities of every frame, and lets one bad input fail them all. The three networks (features, encoder, decoder)
are called directly. How a model comes into memory is `nemo_load.py`, how samples become features `nemo_features.py`,
how frames become tokens `nemo_decode.py`.
"""

from __future__ import annotations

import gc
import importlib.metadata
import itertools
import logging
import os
import shutil
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from transcription_worker.engines.lanes import CHUNK_SECONDS, Lanes, cut
from transcription_worker.engines.protocol import Engine, OutOfMemory, Recognition, Samples
from transcription_worker.engines.toolkit import import_toolkit
from transcription_worker.engines.words import Token, Vocabulary, words_of
from transcription_worker.errors import ConfigurationError, RetryableError
from transcription_worker.fault_points import Point, reach
from transcription_worker.nemo_archive import check_archive, unpack
from transcription_worker.nemo_config import ArchiveInfo
from transcription_worker.resources import cpu_count
from transcription_worker.scratch_space import NO_SPACE_ERRNOS
from transcription_worker.time_use import Stopwatch
from transcription_worker.transcript import Word

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

Encoded = tuple["torch.Tensor", "torch.Tensor"]
"""Encoder frames [B, D, T] and their number per row [B]."""
Head = Callable[[Sequence[Encoded]], Callable[[], list[list[Token]]]]

SHORTEST_SECONDS = 0.025
"""One analysis window; what is shorter holds no frame."""
PADDED_SECONDS = 1.0
"""Shorter inputs are followed by silence up to this: features are normalized over the row, and models saw no less."""
ROW_TOLERANCE = 1e-3
"""Largest difference, relative to the largest value, that a neighbour may make to an encoder's output in float32."""


class NemoEngine(Engine):
    """One NeMo model.

    Args:
        model: a local .nemo file; its weights stay mapped from it, so that workers of one machine share them in memory.
        scratch: a directory of this process; the rest of the archive (and the weights too, where it is compressed) is
            unpacked there while it loads, and nothing stays.
        confidence: whether words and recognitions carry one.
        precision: what the encoder computes in; `auto` is bfloat16 on a GPU that has it, else float32. Features and
            decoder are float32 always.
        device: `auto` takes the GPU where there is one.
        decoder: which head of a hybrid model; None: its RNNT head.
        attention: `local` looks so far to each side of a frame as `nemo_load.LOCAL_FRAMES` says, `full` over the whole
            input; None: as trained.
        language: what is spoken. Models of these kinds take none; one that was trained on several finds it by itself.
        threads: how many CPUs it works on; None: OMP_NUM_THREADS, else every one that the process may use.
    """

    def __init__(
        self,
        model: Path,
        *,
        scratch: Path,
        confidence: bool = True,
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
        device: Literal["auto", "cpu", "cuda"] = "auto",
        decoder: Literal["ctc", "rnnt"] | None = None,
        attention: Literal["full", "local"] | None = None,
        language: str | None = None,
        threads: int | None = None,
    ) -> None:
        self.name = f"nemo {importlib.metadata.version('nemo_toolkit')}"
        self.precision = "float32"
        self.sample_rate = 16_000
        self.callers = 1
        self.language = language
        self._path = model
        self._scratch = scratch
        self._confidence = confidence
        self._asked_precision = precision
        self._asked_device = device
        self._asked_decoder = decoder
        self._attention = attention
        self._threads = threads
        self._rows_together = True
        self._longest = 0
        self._encoding = threading.Lock()
        self._searching = threading.Lock()
        self.load_seconds: dict[str, float] = {}

    def load(self) -> None:
        info = check_archive(self._path)
        if self._asked_decoder is not None and info.kind != "hybrid":
            own = "ctc" if info.kind == "ctc" else "rnnt"
            if self._asked_decoder != own:
                raise ConfigurationError(
                    f"{self._path} has no {self._asked_decoder} decoder; leave the decoder out or name a hybrid model."
                )
        self.sample_rate = info.sample_rate

        self.load_seconds = import_toolkit()
        import torch

        from transcription_worker.engines import nemo_features, nemo_load

        watch = Stopwatch()
        self._torch = torch
        self._nemo_load = nemo_load
        self._device = self._choose_device()
        self.precision = self._choose_precision()
        on_cpu = self._device.type == "cpu"
        self._lanes = Lanes(self._cpus() if on_cpu else 1, torch.set_num_threads)
        # A search is many small operations in a row, for one CPU; the others encode the next batch meanwhile. And while
        # tokens become words, which is Python's work, a GPU has the next batch.
        self.callers = 1 if on_cpu and self._lanes.count == 1 else 2
        self._chunk_size = int(CHUNK_SECONDS * self.sample_rate) if on_cpu else sys.maxsize
        try:
            with self._memory_errors():
                self._model = self._restore(info).to(self._device)
                if self._attention is not None:
                    nemo_load.attend(self._model, self._attention, self._path)
        except OutOfMemory as error:
            raise RetryableError(
                f"{self._path} does not fit the memory of the {self._device} ({error}); give the worker more or take a "
                "smaller model."
            ) from error
        self._head, self._vocabulary = self._choose_head(info)
        self._features = nemo_features.Features(self._model.preprocessor)
        stride = float(self._model.cfg.preprocessor.window_stride)
        self._frame_seconds = stride * int(self._model.encoder.subsampling_factor)
        self.load_seconds["weights"] = watch.lap()
        self._rows_together = self._rows_are_independent()
        if self.precision == "bfloat16":
            nemo_load.halve_weights(self._model.encoder)
        self.transcribe([self._noise(1.0)])
        self.load_seconds["warm_up"] = watch.lap()

    def transcribe(self, batch: Sequence[Samples]) -> list[Recognition]:
        for samples in batch:
            if samples.ndim != 1 or samples.dtype != np.float32:
                raise ValueError(f"samples must be float32 of shape [n], not {samples.dtype} of {list(samples.shape)}")
        results = [Recognition("")] * len(batch)
        shortest = SHORTEST_SECONDS * self.sample_rate
        # Digital silence has no spectrum to normalize, and models hear words in what is left of it.
        heard = [i for i, samples in enumerate(batch) if len(samples) >= shortest and samples.any()]
        if not heard:
            return results
        with self._memory_errors():
            rows = self._decode([batch[i] for i in heard])
        for i, tokens in zip(heard, rows, strict=True):
            results[i] = self._recognition(tokens, len(batch[i]) / self.sample_rate)
        return results

    def _decode(self, batch: Sequence[Samples]) -> list[list[Token]]:
        """The tokens of each row."""
        sizes = [self._padded_size(samples) for samples in batch]
        chunks = cut(sizes, limit=self._chunk_size if self._rows_together else 0, lanes=self._lanes.count)

        def encode(chunk: list[int]) -> Encoded:
            with torch.inference_mode():  # a thread's own
                encoded, lengths = self._encode([batch[i] for i in chunk], self.precision)
                return encoded.float(), lengths

        torch = self._torch
        with self._encoding:
            # Encoders lengthen their tables of positions for the longest input so far: that one goes first, alone.
            first = int(max(sizes) > self._longest)
            encoded = self._lanes.map(encode, chunks[:first])
            self._longest = max(self._longest, *sizes)
            encoded += self._lanes.map(encode, chunks[first:])
        with self._searching, torch.inference_mode():
            self._lanes.alone()
            found = self._head(encoded)
        return [row for _, row in sorted(zip(itertools.chain(*chunks), found(), strict=True))]

    def _encode(self, batch: Sequence[Samples], precision: str) -> Encoded:
        torch = self._torch
        sizes = [self._padded_size(samples) for samples in batch]
        padded = torch.zeros(len(batch), max(sizes), pin_memory=self._device.type == "cuda")
        for row, samples in zip(padded.numpy(), batch, strict=True):
            row[: len(samples)] = samples
        samples_there = padded.to(self._device, non_blocking=True)
        features, frames = self._features(samples_there, torch.tensor(sizes, device=self._device))
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            encoded, lengths = self._model.encoder(audio_signal=features, length=frames)
        # Encoders without masks return the lengths of their input.
        return encoded, lengths.clamp(max=encoded.shape[-1])

    def _padded_size(self, samples: Samples) -> int:
        return max(len(samples), round(PADDED_SECONDS * self.sample_rate))

    def _recognition(self, tokens: Sequence[Token], duration: float) -> Recognition:
        words = words_of(tokens, self._vocabulary, frame_seconds=self._frame_seconds, duration=duration)
        if not self._confidence:
            words = tuple(Word(word.text, word.start, word.end) for word in words)
        known = [word.confidence for word in words if word.confidence is not None]
        return Recognition(
            text=" ".join(word.text for word in words),
            words=words,
            confidence=sum(known) / len(known) if known else None,
        )

    def _choose_device(self) -> torch.device:
        there = self._torch.cuda.is_available()
        if self._asked_device == "cuda" and not there:
            built = self._torch.version.cuda
            why = f"no driver for CUDA {built} answers" if built else "this PyTorch is built without CUDA"
            raise ConfigurationError(
                f"spec.workers.gpus asks for GPUs and none is visible ({why}): check the node's driver, its container "
                "runtime and spec.workers.image, or set spec.workers.gpus to 0 to compute on the CPU."
            )
        return self._torch.device("cuda" if there and self._asked_device != "cpu" else "cpu")

    def _cpus(self) -> int:
        environment = os.environ.get("OMP_NUM_THREADS", "")
        return self._threads or (int(environment) if environment.isdecimal() else cpu_count())

    def _choose_precision(self) -> Literal["float32", "bfloat16"]:
        if self._asked_precision != "auto":
            return self._asked_precision
        fits = self._device.type == "cuda" and self._torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if fits else "float32"

    def _restore(self, info: ArchiveInfo) -> Any:
        directory = self._scratch / f"nemo_{uuid.uuid4()}"
        try:
            directory.mkdir(parents=True)
            weights = unpack(self._path, directory)
            reach(Point.MODEL_UNPACKED)
            try:
                return self._nemo_load.restore(directory, weights, info.target, on_gpu=self._device.type == "cuda")
            except Exception as error:
                if _is_memory(error):
                    raise
                raise ConfigurationError(
                    f"{self._path} cannot be loaded as {info.target.rpartition('.')[2]} ({_in_short(error)}); "
                    f"check that {self.name} made it."
                ) from error
        except OSError as error:
            cure = (
                "make room for it there" if error.errno in NO_SPACE_ERRNOS else "look at the disk and its permissions"
            )
            raise RetryableError(
                f"{self._path} cannot be unpacked into {self._scratch} ({error.strerror}); {cure}."
            ) from error
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _choose_head(self, info: ArchiveInfo) -> tuple[Head, Vocabulary]:
        from transcription_worker.engines.nemo_decode import CtcHead, TransducerHead

        head: CtcHead | TransducerHead
        if info.kind == "ctc":
            head = CtcHead(self._model.decoder, self._model.decoding)
        elif info.kind == "hybrid" and self._asked_decoder == "ctc":
            head = CtcHead(self._model.ctc_decoder, self._model.ctc_decoding)
        else:
            head = TransducerHead(self._model.decoding)
        return head, head.vocabulary

    def _noise(self, seconds: float) -> Samples:
        return np.random.default_rng(0).standard_normal(round(seconds * self.sample_rate)).astype(np.float32) * 0.1

    def _rows_are_independent(self) -> bool:
        """Whether the encoder gives a row the same frames beside a longer one as alone; it is warm afterwards.

        Some old models convolve over the padding. Their rows are worked one by one, for a recording must give the
        same words whatever it is batched with.
        """
        noise = self._noise(3.0)
        short = noise[: round(1.3 * self.sample_rate)]
        with self._memory_errors(), self._torch.inference_mode():
            alone, lengths = self._encode([short], "float32")
            beside, _ = self._encode([short, noise], "float32")
            frames = int(lengths[0])
            difference = (alone[0, :, :frames] - beside[0, :, :frames]).abs().max()
            independent = bool(difference <= ROW_TOLERANCE * alone.abs().max())
        if not independent:
            log.warning("%s lets padding into its results: recordings go through it one by one", self._path.name)
        return independent

    @contextmanager
    def _memory_errors(self) -> Iterator[None]:
        """What torch says in many ways is OutOfMemory; a GPU that failed is a reason to start the process again."""
        try:
            yield
            return
        except (self._torch.cuda.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _is_memory(error):
                if "CUDA error" in str(error):
                    raise RetryableError(f"The GPU failed ({_in_short(error)}); the worker starts again.") from error
                raise
            message = _in_short(error)
        # Outside the handler: the traceback that held the tensors is gone.
        gc.collect()
        if self._device.type == "cuda":
            self._torch.cuda.empty_cache()
        raise OutOfMemory(message)


def _is_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(
        sign in text for sign in ("out of memory", "not enough memory", "can't allocate memory", "alloc_failed")
    )


def _in_short(error: BaseException) -> str:
    """A toolkit's message on one line, or what it was where it says nothing."""
    return " ".join(str(error).split())[:200] or type(error).__name__
