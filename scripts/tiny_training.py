"""What the trainings of the two tiny models share: features, the optimiser's loop, and the gate before writing.

The networks and their losses live in `train_tiny_ctc.py` and `train_tiny_tdt.py`, the speech in `tiny_speech.py`.

Everything follows from one seed and one CPU thread: the same machine and versions give the same weights and, as the
archive is freed of times, owners and random names, the same checksum. Another CPU or another version of torch may
round differently and gives a model of the same quality with another checksum.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import random
import re
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import soxr
import torch

from scripts.tiny_speech import HELD_OUT, SAMPLE_RATE, Samples, Utterance, make_utterances

B = TypeVar("B")

MODELS = Path(__file__).resolve().parent.parent / "examples" / "models"
HOP = 160
"""Samples between two feature frames: 10 ms."""
TELEPHONE_RATE = 8_000
LONGEST_EDGE = SAMPLE_RATE * 8 // 10
"""Samples of silence before or after an utterance, at most; after more than it knows, a CTC model says a space."""
BATCH_SIZE = 16


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """Utterances of like length, ready for the encoder (torch tensors).

    Attributes:
        features: [B, mel bands, T] float32, padded with zeros to the longest.
        lengths: [B] feature frames of each utterance.
        utterances: the B utterances.
        leads: [B] samples of silence before each utterance.
    """

    features: torch.Tensor
    lengths: torch.Tensor
    utterances: tuple[Utterance, ...]
    leads: tuple[int, ...]


def as_recorded(utterance: Utterance, lead: int, tail: int, rng: random.Random) -> Samples:
    """The utterance between silences, at some level, sometimes as over a telephone, sometimes with noise."""
    samples = utterance.samples
    if rng.random() < 0.3:
        narrow = soxr.resample(samples, SAMPLE_RATE, TELEPHONE_RATE)
        wide = soxr.resample(narrow, TELEPHONE_RATE, SAMPLE_RATE)
        samples = (
            np.resize(wide, samples.shape) if len(wide) >= len(samples) else np.pad(wide, (0, len(samples) - len(wide)))
        )
    samples = np.pad(samples, (lead, tail)) * np.float32(rng.uniform(0.3, 1.2))
    if rng.random() < 0.5:
        noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(len(samples), dtype=np.float32)
        samples = samples + noise * np.float32(10 ** rng.uniform(-4.5, -2.5))
    return samples.astype(np.float32)


def make_batches(model: Any, utterances: Sequence[Utterance], seed: int) -> list[FeatureBatch]:
    """Features of all utterances, computed once: they would be half the cost of every training step."""
    rng = random.Random(seed)
    by_length = sorted(utterances, key=lambda utterance: len(utterance.samples))
    batches = []
    for first in range(0, len(by_length), BATCH_SIZE):
        chosen = tuple(by_length[first : first + BATCH_SIZE])
        leads = tuple(rng.randrange(LONGEST_EDGE) for _ in chosen)
        recorded = [
            # NeMo pads shorter inputs to one second.
            as_recorded(u, lead, max(rng.randrange(LONGEST_EDGE), SAMPLE_RATE - len(u.samples) - lead), rng)
            for u, lead in zip(chosen, leads, strict=True)
        ]
        lengths = torch.tensor([len(samples) for samples in recorded])
        padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(s) for s in recorded], batch_first=True)
        with torch.no_grad():
            features, frames = model.preprocessor(input_signal=padded, length=lengths)
        batches.append(FeatureBatch(features, frames, chosen, leads))
    return batches


def be_deterministic(seed: int) -> None:
    """One thread and one seed for everything that draws; also quicker here: the layers are too small to share."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # would cost a fifth of a step
    random.seed(seed)
    np.random.seed(seed)


def fit(
    model: Any,
    batches: Sequence[B],
    loss_of: Callable[[B], torch.Tensor],
    *,
    steps: int,
    peak_rate: float,
    seed: int,
) -> None:
    """AdamW under a one-cycle schedule, over the batches in a new random order each round."""
    rng = random.Random(seed)
    rounds = (batch for _ in itertools.count() for batch in rng.sample(batches, len(batches)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak_rate, betas=(0.9, 0.98), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak_rate, total_steps=steps, pct_start=0.15)
    model.train()
    started, recent = time.monotonic(), 0.0
    for step, batch in enumerate(itertools.islice(rounds, steps), start=1):
        loss = loss_of(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        recent += loss.item()
        if step % 100 == 0:
            print(f"step {step}: loss {recent / 100:.3f}, {time.monotonic() - started:.0f} s", flush=True)
            recent = 0.0
    model.eval()


def held_out_error_rate(model: Any) -> float:
    """Word error rate on voices and speeds that training never heard; prints it for short and long utterances."""
    from nemo.collections.asr.metrics.wer import word_error_rate

    sets = {
        "1 to 6 words": make_utterances(240, 999, HELD_OUT),
        "20 to 30 words": make_utterances(24, 998, HELD_OUT, shortest=20, longest=30),
    }
    said, heard = [], []
    for name, utterances in sets.items():
        edge = SAMPLE_RATE // 2
        recorded = [np.pad(u.samples, (edge, max(edge, SAMPLE_RATE - len(u.samples)))) for u in utterances]
        texts = [h.text for h in model.transcribe(recorded, batch_size=BATCH_SIZE, verbose=False)]
        model.eval()
        expected = [u.text for u in utterances]
        print(f"held-out voices, {name}: word error rate {word_error_rate(texts, expected):.4f}")
        for utterance, text in [p for p in zip(expected, texts, strict=True) if p[0] != p[1]][:5]:
            print(f"  said {utterance!r}, heard {text!r}")
        said += expected
        heard += texts
    return float(word_error_rate(heard, said))


def write_model(model: Any, path: Path, *, worst_error_rate: float) -> None:
    """Write the `.nemo` archive and its line in SHA256SUMS, if the model is good enough.

    Raises:
        SystemExit: the word error rate on held-out voices is above the bound; nothing is written.
    """
    error_rate = held_out_error_rate(model)
    if error_rate > worst_error_rate:
        raise SystemExit(
            f"{path.name} was not written: its word error rate on held-out voices is {error_rate:.4f}, above the bound"
            f" of {worst_error_rate}; train longer (--steps) or on more speech (--utterances)"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    unsettled = path.with_suffix(".unsettled")
    model.save_to(str(unsettled))
    settle_archive(unsettled, path)
    unsettled.unlink()
    models = sorted(path.parent.glob("*.nemo"))
    lines = [f"{hashlib.sha256(m.read_bytes()).hexdigest()}  {m.name}\n" for m in models]
    (path.parent / "SHA256SUMS").write_text("".join(lines), encoding="ascii")
    print(f"wrote {path} ({path.stat().st_size:,} bytes), word error rate {error_rate:.4f}")


def settle_archive(source: Path, target: Path) -> None:
    """Copy a `.nemo` archive without what differs between two runs or tells of the machine.

    These are times, owners and modes, the random prefixes of NeMo's artifact names, and the folder that the tokenizer
    was read from.
    """
    random_prefix = re.compile(r"\b[0-9a-f]{32}_")
    with tarfile.open(source) as old, tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as new:
        contents = {m.name.removeprefix("./"): old.extractfile(m) for m in old.getmembers() if m.isfile()}
        for name, stream in sorted(contents.items(), key=lambda item: random_prefix.sub("", item[0])):
            assert stream is not None
            content = stream.read()
            if name == "model_config.yaml":
                text = random_prefix.sub("", content.decode("utf-8"))
                content = re.sub(r"^  dir: .*$", "  dir: tokenizer", text, flags=re.MULTILINE).encode("utf-8")
            member = tarfile.TarInfo(random_prefix.sub("", name))
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))


def training_arguments(description: str, *, output: str, steps: int, utterances: int) -> argparse.Namespace:
    """The command line of both trainings."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--output", type=Path, default=MODELS / output, help="the .nemo to write (%(default)s)")
    parser.add_argument("--steps", type=int, default=steps, help="optimiser steps (%(default)s)")
    parser.add_argument("--utterances", type=int, default=utterances, help="training utterances (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (%(default)s)")
    arguments = parser.parse_args()
    quieten_toolkit()
    return arguments


def quieten_toolkit() -> None:
    """Leave only errors of what NeMo logs."""
    from nemo.utils import logging

    logging.set_verbosity(logging.ERROR)
