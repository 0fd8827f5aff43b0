"""Small real recordings of every format that is read, for the fuzzer to damage. Made by FFmpeg; AMR by PyAV.

What is done to them stands in `fuzz_mutations.py`.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soundfile

from tests.integration.test_decode_formats import FORMATS, sound

SECONDS = 0.7
FILMS = {
    "film-mp4": ("mp4", ("-c:v", "mpeg4", "-c:a", "aac")),
    "film-mkv": ("mkv", ("-c:v", "mpeg4", "-c:a", "libmp3lame")),
    "film-ogv": ("ogv", ("-c:v", "libtheora", "-c:a", "libvorbis")),
}


class NoFfmpegError(Exception):
    """Real files of most formats cannot be made without FFmpeg."""


@dataclass(frozen=True, slots=True)
class Seed:
    """One recording that decodes: `name` is its format's, `suffix` its extension without the dot."""

    name: str
    suffix: str
    body: bytes


def make_seeds(folder: Path) -> list[Seed]:
    """Two layouts of each format of `FORMATS`, films, and AMR; `folder` is where they are written.

    Raises:
        NoFfmpegError: it is not installed.
    """
    if shutil.which("ffmpeg") is None:
        raise NoFfmpegError("ffmpeg is not installed: install it, the fuzzer damages the files that it writes.")
    seeds = []
    for name, form in FORMATS.items():
        for rate, channels in form.layouts[:2]:
            source = folder / f"source-{rate}-{channels}.wav"
            if not source.exists():
                soundfile.write(source, sound(rate, channels, SECONDS), rate, subtype="PCM_16")
            seeds.append(_encoded(folder, f"{name}-{rate}", form.suffix, source, form.options))
    picture = ("-f", "lavfi", "-i", "testsrc=s=64x48:d=0.5", "-map", "0:a", "-map", "1:v")
    for name, (suffix, codecs) in FILMS.items():
        seeds.append(_encoded(folder, name, suffix, folder / "source-44100-2.wav", (*picture, *codecs)))
    return [*seeds, Seed("amr", "amr", _amr(folder / "seed.amr"))]


def _encoded(folder: Path, name: str, suffix: str, source: Path, options: tuple[str, ...]) -> Seed:
    path = folder / f"{name}.{suffix}"
    command = ["ffmpeg", "-nostdin", "-y", "-v", "error", "-i", str(source), *options, "-bitexact", str(path)]
    subprocess.run(command, check=True)
    return Seed(name, suffix, path.read_bytes())


def _amr(path: Path) -> bytes:
    with av.open(str(path), "w", format="amr") as file:
        stream = file.add_stream("libopencore_amrnb", rate=8_000, layout="mono")
        stream.bit_rate = 12_200
        samples = (sound(8_000, 1, SECONDS)[:, 0] * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
        frame.sample_rate = 8_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    return path.read_bytes()
