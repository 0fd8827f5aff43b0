"""`make bench-decode`: what decoding costs by codec, ours against `ffmpeg -f f32le -ar 16000 -ac 1`, on the same files.

CPU seconds of both sides of our decoder (the child that decodes and the parent that reads its blocks), once it runs,
and of ffmpeg with its start, which is printed too. The least of several runs counts. What an hour of audio costs the
worker's own process, whose interpreter also feeds the model, stands beside it, without and with cutting it into
segments. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import soundfile as sf
import soxr

from tests.bench.corpus import ENCODERS
from tests.speech import PHRASES, RATE, phrase
from transcription_api.job import MAX_SEGMENT_SECONDS
from transcription_worker.decode import Decoder, DecodeRequest
from transcription_worker.segment import Segmenter

LONGEST_SECONDS = 1e6


@dataclass(frozen=True, slots=True)
class Kind:
    """How the files of one kind of recording are made: Hz and channels."""

    name: str
    rate: int
    channels: int


KINDS = (Kind("speech", 16_000, 1), Kind("studio", 44_100, 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="length of each file (default 30)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each (default 3)")
    args = parser.parse_args()
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {args.minutes:g} min each, one core's worth")
    print(f"ffmpeg takes {min(cpu_of(['ffmpeg', '-version']) for _ in range(args.repeat)):.2f} CPU s to start\n")
    print(
        f"{'file':28}{'ours':>10}{'ffmpeg':>10}  audio s per CPU s{'ratio':>8}"
        f"   worker's process, CPU ms per hour: {'reading':>8}{'and cutting':>13}"
    )
    with tempfile.TemporaryDirectory() as folder, Decoder() as decoder:
        for kind in KINDS:
            wav = make_wav(Path(folder), kind, 60 * args.minutes)
            for extension, arguments in ENCODERS.items():
                path = encode(wav, extension, arguments)
                seconds = decode(decoder, path)  # starts the child and warms the page cache
                own, reading = map(
                    min, zip(*(cpu_of_ours(decoder, path, decode) for _ in range(args.repeat)), strict=True)
                )
                _, cutting = map(
                    min, zip(*(cpu_of_ours(decoder, path, decode_and_cut) for _ in range(args.repeat)), strict=True)
                )
                other = min(cpu_of(to_samples(path)) for _ in range(args.repeat))
                name = f"{extension}, {kind.rate} Hz, {kind.channels} ch"
                per_hour = 3600e3 / seconds
                print(
                    f"{name:28}{seconds / own:10,.0f}{seconds / other:10,.0f}{'':19}{other / own:8.2f}"
                    f"{'':37}{reading * per_hour:8.0f}{cutting * per_hour:13.0f}",
                    flush=True,
                )


def make_wav(folder: Path, kind: Kind, seconds: float) -> Path:
    """Phrases and pauses; in stereo the second channel is a quieter copy, a moment later."""
    said = np.concatenate([np.pad(phrase(text), (0, RATE // 2)) for text in PHRASES])
    said = np.asarray(soxr.resample(said, RATE, kind.rate), dtype=np.float32)
    samples = np.resize(said, round(seconds * kind.rate))
    path = folder / f"{kind.name}.wav"
    sf.write(path, np.stack([np.roll(samples, 40 * n) / (1 + n) for n in range(kind.channels)], axis=1), kind.rate)
    return path


def encode(wav: Path, extension: str, arguments: list[str]) -> Path:
    if extension == "wav":
        return wav
    target = wav.with_suffix(f".{extension}")
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", str(wav), *arguments, str(target)], check=True)
    return target


def decode(decoder: Decoder, path: Path) -> float:
    with decoder.decode(DecodeRequest(path, "mix", RATE, LONGEST_SECONDS)) as stream:
        return sum(int(block.shape[1]) for block in stream) / RATE


def decode_and_cut(decoder: Decoder, path: Path) -> float:
    segmenter = Segmenter(None, RATE, MAX_SEGMENT_SECONDS)
    with decoder.decode(DecodeRequest(path, "mix", RATE, LONGEST_SECONDS)) as stream:
        segments = [segment for block in stream for segment in segmenter.push(block[0])]
    return sum(len(segment.samples) for segment in segments + segmenter.finish()) / RATE


def cpu_of_ours(decoder: Decoder, path: Path, work: Callable[[Decoder, Path], float]) -> tuple[float, float]:
    """CPU seconds of both processes, and of this one alone."""
    child = psutil.Process(decoder.child_pid)

    def spent() -> tuple[float, float]:
        times, own = child.cpu_times(), time.process_time()
        return own + times.user + times.system, own

    before = spent()
    work(decoder, path)
    after = spent()
    return after[0] - before[0], after[1] - before[1]


def to_samples(path: Path) -> list[str]:
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(path), "-f", "f32le", "-ar", str(RATE), "-ac", "1"]
    return [*command, "-"]


def cpu_of(command: list[str]) -> float:
    before = os.times()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


if __name__ == "__main__":
    main()
