"""A few hundred short recordings for the kills: cut from examples/audio, in several formats, with bad ones among them.

Deterministic by its seed. Nothing here knows of jobs or processes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import soundfile as sf

from tests.jobs import EXAMPLES

LONG = EXAMPLES / "audio" / "long" / "twelve-minutes.opus"
SHORTEST, LONGEST = 0.8, 3.0
"""Seconds of a cut."""
WRITTEN = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "ULAW"),
    "caf": ("CAF", "PCM_16"),
}
BAD_SHARE = 12
"""Every so many recordings one is bad."""


def make_corpus(folder: Path, count: int, seed: int) -> list[str]:
    """Write `count` recordings below `folder`; returns their keys."""
    keys = []
    for key, body in _recordings(folder / ".cut", count, random.Random(seed)):
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        keys.append(key)
    (folder / ".cut").unlink(missing_ok=True)
    return keys


def _recordings(scrap: Path, count: int, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    whole = sorted(path for path in (EXAMPLES / "audio").rglob("*") if path.is_file() and path != LONG)
    bad = sorted(path for path in (EXAMPLES / "bad-audio").iterdir() if path.is_file())
    speech, rate = sf.read(LONG, dtype="float32")
    scrap.parent.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        folder = f"day-{number % 7}"
        if number % BAD_SHARE == BAD_SHARE - 1:
            path = bad[number // BAD_SHARE % len(bad)]
            yield f"{folder}/{number:04d}-{path.name}", path.read_bytes()
        elif number < len(whole):
            yield f"{folder}/{number:04d}-{whole[number].name}", whole[number].read_bytes()
        else:
            length = int(rng.uniform(SHORTEST, LONGEST) * rate)
            start = rng.randrange(len(speech) - length)
            extension = rng.choice(list(WRITTEN))
            container, codec = WRITTEN[extension]
            sf.write(scrap, speech[start : start + length], rate, format=container, subtype=codec)
            yield f"{folder}/{number:04d}.{extension}", scrap.read_bytes()
