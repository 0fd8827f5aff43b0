"""Recordings for tests: short phrases in the words that the tiny models know, as many as a test needs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

PHRASES = ("one two three", "left right go", "stop yes no seven", "eight nine zero", "go left five six")
RATE = 16_000


def phrase(text: str, voice: str = "en-us") -> NDArray[np.float32]:
    """espeak-ng's voice saying a text: float32 [n] at 16 kHz."""
    wav = subprocess.run(["espeak-ng", "-v", voice, "-s", "140", "--stdout", text], capture_output=True, check=True)
    samples = np.frombuffer(wav.stdout[44:], dtype="<i2").astype(np.float32) / 32768
    return np.asarray(soxr.resample(samples, 22050, RATE), dtype=np.float32)


def make_recordings(folder: Path, count: int) -> dict[str, str]:
    """`count` wavs below `folder`; returns key -> text."""
    folder.mkdir(parents=True, exist_ok=True)
    spoken = [phrase(text) for text in PHRASES]
    made = {}
    for n in range(count):
        text, samples = PHRASES[n % len(PHRASES)], spoken[n % len(PHRASES)]
        key = f"{n % 7}/r{n:04d}.wav"
        (folder / key).parent.mkdir(exist_ok=True)
        sf.write(folder / key, samples, RATE)
        made[key] = text
    return made
