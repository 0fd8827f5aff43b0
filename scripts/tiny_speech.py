"""Synthetic speech of sixteen words: who speaks, what is said, and how it sounds.

The words, the voices of training and those held out, and utterances made of both with espeak-ng, all drawn from one
seed. Training lives in `tiny_training.py`, the recordings that people try the project with in `make_examples.py`.
"""

from __future__ import annotations

import io
import itertools
import os
import random
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

Samples = NDArray[np.float32]
"""Mono PCM, shape [n], -1..1."""

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORDS = (*DIGITS, "yes", "no", "stop", "go", "left", "right")
SAMPLE_RATE = 16_000


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


def pause_in_samples(rng: random.Random) -> int:
    """Mostly up to half a second, as between words; sometimes up to two seconds, as between sentences."""
    seconds = rng.uniform(0.05, 0.5) if rng.random() < 0.7 else rng.uniform(0.5, 2.0)
    return round(seconds * SAMPLE_RATE)


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
        gaps = [pause_in_samples(rng) for _ in words]
        return lambda: say_one_by_one(words, voice, gaps)

    plans = [plan(index) for index in range(count)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        return list(threads.map(lambda make: make(), plans))
