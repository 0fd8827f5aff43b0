"""A mixed corpus for benchmarks: synthetic phrases and pauses, several formats, 5 seconds to 30 minutes each.

Deterministic, made once into a folder; espeak-ng speaks and ffmpeg encodes.
"""

from __future__ import annotations

import math
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from tests.speech import PHRASES, RATE, phrase

VOICES = ("en-us", "en-us+m3", "en-us+f2", "en-gb", "en-gb+f1")
ENCODERS = {
    "wav": [],
    "flac": ["-c:a", "flac"],
    "mp3": ["-c:a", "libmp3lame", "-b:a", "64k"],
    "opus": ["-c:a", "libopus", "-b:a", "32k"],
    "m4a": ["-c:a", "aac", "-b:a", "64k"],
}
SHORTEST, LONGEST = 5.0, 1800.0


def durations(hours: float, rng: random.Random) -> Iterator[float]:
    """Log-uniform between the bounds until there is enough."""
    left = hours * 3600
    while left > 0:
        seconds = min(math.exp(rng.uniform(math.log(SHORTEST), math.log(LONGEST))), max(left, SHORTEST))
        left -= seconds
        yield seconds


class Voices:
    """Says the phrases of the tests, each once by every voice, and puts them together again and again."""

    def __init__(self) -> None:
        self._spoken = [(phrase(text, voice), text) for voice in VOICES for text in PHRASES]

    def speak(self, seconds: float, rng: random.Random) -> tuple[NDArray[np.float32], str]:
        """At least so many seconds at `RATE`, with pauses of 0.2 to 1.2 s, and their words."""
        parts, texts, length = [], [], 0
        while length < seconds * RATE:
            spoken, text = rng.choice(self._spoken)
            piece = np.pad(spoken, (0, int(rng.uniform(0.2, 1.2) * RATE)))
            parts.append(piece)
            texts.append(text)
            length += len(piece)
        return np.concatenate(parts), " ".join(texts)


def encode(samples: NDArray[np.float32], target: Path) -> None:
    """Write them in the format that the name ends in."""
    wav = target.with_suffix(".wav")
    sf.write(wav, samples, RATE)
    if target != wav:
        options = ENCODERS[target.suffix.removeprefix(".")]
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", str(wav), *options, str(target)], check=True)
        wav.unlink()


def make_corpus(folder: Path, hours: float, seed: int = 0) -> float:
    """Write the corpus unless it is there; returns its seconds of audio."""
    done = folder / ".seconds"
    if done.exists():
        return float(done.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    voices = Voices()
    total = 0.0
    for number, seconds in enumerate(durations(hours, rng)):
        samples, _ = voices.speak(seconds, rng)
        total += len(samples) / RATE
        encode(samples, folder / f"r{number:04d}.{list(ENCODERS)[number % len(ENCODERS)]}")
    done.write_text(str(total))
    return total
