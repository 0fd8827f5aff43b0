"""Writing and reading media files with ffmpeg for `make_examples.py`: bit-exact, without metadata.

The worker's own decoder is not used here on purpose: what checks the examples must not share its faults.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import cast

import av
import numpy as np
from numpy.typing import NDArray

EXACT = [
    "-map_metadata",
    "-1",
    "-fflags",
    "+bitexact",
    "-flags:a",
    "+bitexact",
    "-flags:v",
    "+bitexact",
    "-threads",
    "1",
]


def ffmpeg(*arguments: str, stdin: bytes = b"") -> bytes:
    """Run ffmpeg so that its output follows from its input alone. The last argument is the output; `-` is returned."""
    *before, output = arguments
    command = ["ffmpeg", "-v", "error", "-y", *before, *EXACT, "-threads", "1", output]
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True).stdout


def encode(samples: NDArray[np.float32], sample_rate: int, path: Path, options: str, *, video: bool = False) -> None:
    """Write samples [n, channels] at `sample_rate` Hz.

    Args:
        options: ffmpeg's, for the audio track.
        video: add a black picture of 16 by 16 as long as the audio.
    """
    if path.suffix == ".amr":
        encode_amr(samples[:, 0], sample_rate, path)
        return
    layout = ["-f", "f32le", "-ar", str(sample_rate), "-ac", str(samples.shape[1])]
    tracks = []
    if video:
        seconds = len(samples) / sample_rate
        tracks = ["-f", "lavfi", "-i", f"color=size=16x16:rate=5:duration={seconds}", "-c:v", "mpeg4"]
    ffmpeg(*layout, "-i", "-", *tracks, *options.split(), str(path), stdin=samples.astype("<f4").tobytes())


def encode_amr(samples: NDArray[np.float32], sample_rate: int, path: Path) -> None:
    """AMR narrow-band at 12.2 kbit/s by PyAV, whose wheels bring the OpenCORE encoder that distributions leave out."""
    pcm = (samples * 32767).astype(np.int16)[None]
    with av.open(str(path), "w", format="amr") as container:
        stream = cast(av.AudioStream, container.add_stream("libopencore_amrnb", rate=sample_rate, layout="mono"))
        stream.bit_rate = 12_200
        frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
        frame.sample_rate = sample_rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def decode(path: Path, sample_rate: int) -> NDArray[np.float32]:
    """All channels mixed to one, at `sample_rate` Hz."""
    raw = ffmpeg("-i", str(path), "-map", "0:a", "-ac", "1", "-ar", str(sample_rate), "-f", "f32le", "-")
    return np.frombuffer(raw, "<f4").astype(np.float32)
