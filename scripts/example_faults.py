"""The bad recordings of `examples/bad-audio`: what is wrong with each and what the ledger has to say of it.

Most are made from good ones; `make_examples.py` writes them.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scripts.media import ffmpeg


@dataclass(frozen=True, slots=True)
class Fault:
    """A file below `examples/bad-audio`.

    Attributes:
        reason: what the ledger says of it, one of the reasons of `transcription_worker.errors`.
        content: makes it from the folder of the good recordings.
    """

    name: str
    reason: str
    what: str
    content: Callable[[Path], bytes]


def half_of(name: str) -> Callable[[Path], bytes]:
    def cut(audio: Path) -> bytes:
        whole = (audio / name).read_bytes()
        return whole[: len(whole) // 2]

    return cut


def index_first(audio: Path) -> bytes:
    """Half of an MP4 file whose index stands at its front: a player finds its declared length, but not its end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index-first.m4a"
        ffmpeg("-i", str(audio / "voice-memo.m4a"), "-c", "copy", "-movflags", "+faststart", str(path))
        return half_of(path.name)(path.parent)


def video_only(_: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video-only.mp4"
        ffmpeg("-f", "lavfi", "-i", "color=size=16x16:rate=5:duration=2", "-c:v", "mpeg4", str(path))
        return path.read_bytes()


def overwritten_inside(audio: Path) -> bytes:
    content = bytearray((audio / "combination.flac").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = random.Random(0).randbytes(2000)
    return bytes(content)


ERROR_PAGE = b"<!DOCTYPE html>\n<html><head><title>403 Forbidden</title></head><body><h1>Forbidden</h1></body></html>\n"


def wav_header() -> bytes:
    """The 44 bytes of a 16-bit mono WAV file at 16 kHz without samples."""
    sizes = {"riff": 36, "fmt": 16, "rate": 16_000, "bytes": 32_000}
    return b"".join(
        [
            b"RIFF" + sizes["riff"].to_bytes(4, "little") + b"WAVEfmt " + sizes["fmt"].to_bytes(4, "little"),
            b"\x01\x00\x01\x00" + sizes["rate"].to_bytes(4, "little") + sizes["bytes"].to_bytes(4, "little"),
            b"\x02\x00\x10\x00data\x00\x00\x00\x00",
        ]
    )


def picture() -> bytes:
    return ffmpeg(
        "-f", "lavfi", "-i", "color=size=16x16:duration=1", "-frames:v", "1", "-f", "image2pipe", "-c:v", "png", "-"
    )


FAULTS = (
    Fault("empty.wav", "Empty", "no bytes at all", lambda _: b""),
    Fault("header-only.wav", "Empty", "a WAV header that declares no samples", lambda _: wav_header()),
    Fault("cut.wav", "Truncated", "the first half of a file", half_of("directions.wav")),
    Fault("cut.flac", "Truncated", "the first half of a file", half_of("combination.flac")),
    Fault("cut.mp3", "Truncated", "the first half of a file", half_of("countdown.mp3")),
    Fault("cut.ogg", "Truncated", "the first half of a file", half_of("order-number.ogg")),
    Fault("cut.m4a", "Truncated", "the first half of a file with the index first", index_first),
    Fault(
        "cut-before-index.m4a",
        "Truncated",
        "the first half of a file with the index last",
        half_of("voice-memo.m4a"),
    ),
    Fault("garbage-inside.flac", "Corrupt", "2,000 random bytes in the middle", overwritten_inside),
    Fault("noise.mp3", "UnsupportedFormat", "random bytes", lambda _: random.Random(1).randbytes(4000)),
    Fault("text.wav", "UnsupportedFormat", "plain text", lambda _: b"left right left\n" * 20),
    Fault("error-page.mp3", "UnsupportedFormat", "an HTML page saved by a failed download", lambda _: ERROR_PAGE),
    Fault("picture.flac", "UnsupportedFormat", "a PNG picture", lambda _: picture()),
    Fault("video-only.mp4", "UnsupportedFormat", "a video without an audio track", video_only),
)
