"""Synthetic speech of sixteen words, and what the trainings of the two tiny models share.

Here live the vocabulary, the voices (those of training and those held out), the making of utterances with
espeak-ng, their features, the optimiser's loop, and the gate that a model must pass before it is written.
The networks and their losses live in `train_tiny_ctc.py` and `train_tiny_tdt.py`; the recordings that people
try the project with are made in `make_examples.py`.

Everything follows from one seed and one CPU thread: the same machine and versions give the same weights and,
as the archive's times and owners are set to zero, the same checksum. Another CPU or another version of torch
may round differently and gives a model of the same quality with another checksum.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import logging
import os
import random
import re
import subprocess
import tarfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray

B = TypeVar("B")
Samples = NDArray[np.float32]
"""Mono PCM, shape [n], -1..1."""

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORDS = (*DIGITS, "yes", "no", "stop", "go", "left", "right")
SAMPLE_RATE = 16_000
HOP = 160
"""Samples between two feature frames: 10 ms."""
MODELS = Path(__file__).resolve().parent.parent / "examples" / "models"
TELEPHONE_RATE = 8_000
BATCH_SIZE = 16


@dataclass(frozen=True, slots=True)
class Voice:
    """One way of speaking: espeak-ng's voice and variant, words per minute, pitch 0..99."""

    name: str
    speed: int = 150
    pitch: int = 50


@dataclass(frozen=True, slots=True)
class Speakers:
    """The voices and speeds (words per minute) that utterances are drawn from."""

    voices: tuple[str, ...]
    speeds: tuple[int, ...]


TRAINING = Speakers(
    voices=(
        *("en-us", "en-us+m1", "en-us+m3", "en-us+m5", "en-us+m7", "en-us+m8", "en-us+f1", "en-us+f2", "en-us+f4"),
        *("en-gb", "en-gb+m2", "en-gb+m6", "en-gb+f1", "en-gb+f2"),
    ),
    speeds=(115, 125, 135, 145, 155, 165, 175, 190, 205),
)
HELD_OUT = Speakers(
    voices=("en-us+f3", "en-us+m2", "en-us+m4", "en-us+f5", "en-gb+m1", "en-gb+f4"),
    speeds=(130, 147, 163, 180),
)


@dataclass(frozen=True, slots=True)
class Utterance:
    """Speech and its text.

    Attributes:
        samples: at SAMPLE_RATE, without silence around it.
        spans: start and end of each word in samples, known where the words were spoken one by one.
    """

    text: str
    samples: Samples
    spans: tuple[tuple[int, int], ...] | None = None


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


def speak(text: str, voice: Voice, sample_rate: int = SAMPLE_RATE) -> Samples:
    """Say `text` with espeak-ng; silence before and after is cut off."""
    wav = subprocess.run(
        ["espeak-ng", "-v", voice.name, "-s", str(voice.speed), "-p", str(voice.pitch), "--stdout", text],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    samples, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    samples = soxr.resample(samples, rate, sample_rate)
    loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max())
    return np.ascontiguousarray(samples[loud[0] : loud[-1] + 1], dtype=np.float32)


def say_in_one_breath(words: Sequence[str], voice: Voice) -> Utterance:
    text = " ".join(words)
    return Utterance(text, speak(text, voice))


def say_one_by_one(words: Sequence[str], voice: Voice, gaps: Sequence[int]) -> Utterance:
    """Words spoken alone, with `gaps[i]` samples of silence after word i (none after the last).

    Without such utterances a model learns the space between words only from how they flow into each other, and
    writes "sixgo" where a recording joins two phrases.
    """
    pieces: list[Samples] = []
    spans: list[tuple[int, int]] = []
    position = 0
    for word, gap in zip(words, [*gaps[: len(words) - 1], 0], strict=True):
        said = speak(word, voice)
        spans.append((position, position + len(said)))
        pieces += [said, np.zeros(gap, np.float32)]
        position += len(said) + gap
    return Utterance(" ".join(words), np.concatenate(pieces), tuple(spans))


def make_utterances(count: int, seed: int, speakers: Speakers, shortest: int = 1, longest: int = 6) -> list[Utterance]:
    """`count` utterances of `shortest` to `longest` words, every word equally often, each voice in both manners."""
    rng = random.Random(seed)
    shuffled_words = (word for _ in itertools.count() for word in rng.sample(WORDS, len(WORDS)))

    def plan(index: int) -> Callable[[], Utterance]:
        words = list(itertools.islice(shuffled_words, rng.randint(shortest, longest)))
        turn, which = divmod(index, len(speakers.voices))
        voice = Voice(speakers.voices[which], rng.choice(speakers.speeds), rng.randint(30, 70))
        if turn % 2 == 0:
            return lambda: say_in_one_breath(words, voice)
        gaps = [rng.randint(SAMPLE_RATE // 20, SAMPLE_RATE // 2) for _ in words]
        return lambda: say_one_by_one(words, voice, gaps)

    plans = [plan(index) for index in range(count)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        return list(threads.map(lambda make: make(), plans))


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
        leads = tuple(rng.randrange(SAMPLE_RATE * 3 // 10) for _ in chosen)
        recorded = [
            # NeMo pads shorter inputs to one second.
            as_recorded(u, lead, max(rng.randrange(SAMPLE_RATE * 3 // 10), SAMPLE_RATE - len(u.samples) - lead), rng)
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
        edge = SAMPLE_RATE // 5
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
    """The command line of both trainings; also quietens the toolkit."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--output", type=Path, default=MODELS / output, help="the .nemo to write (%(default)s)")
    parser.add_argument("--steps", type=int, default=steps, help="optimiser steps (%(default)s)")
    parser.add_argument("--utterances", type=int, default=utterances, help="training utterances (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (%(default)s)")
    arguments = parser.parse_args()
    from nemo.utils import logging as nemo_logging

    nemo_logging.set_verbosity(nemo_logging.ERROR)
    logging.getLogger("nemo_logger").setLevel(logging.ERROR)
    return arguments
