"""A model of Parakeet's size on a GPU: from files to transcripts, the model alone, and NeMo's transcribe(), in one run.

    python -m tests.bench.bench_gpu                                  # CTC and TDT, 0.6 billion parameters
    python -m tests.bench.bench_gpu --width 64 --layers 2 --hours 0.02   # anywhere, to see that it works

Needs nothing from outside: the models have random weights (blank-biased, so that they emit about as often as speech),
the audio is twelve minutes of the examples' over and over. Each contender runs in a process of its own. The model alone
is measured a second time with a clock in each of its parts, which takes longer than without.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

from tests.bench.example_speech import RATE, speech
from tests.bench.large_model import Kind, build_model
from tests.bench.measure import Measured, measure
from tests.jobs import REPOSITORY, Job

FOLDER = REPOSITORY / ".bench"
PIECE_SECONDS = (8.0, 30.0)
"""Length of what the model gets: pieces of long recordings and whole short ones."""
RECORDING_SECONDS = (20.0, 600.0)
PEER_BATCH = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=("ctc", "tdt"), action="append", help="default: both")
    parser.add_argument("--hours", type=float, default=50.0, help="hours of audio (default 50)")
    parser.add_argument("--batch-seconds", type=float, default=3600.0, help="of the model alone (default 3600)")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--contender", choices=("model", "parts", "transcribe"), help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contender:
        contend(args.contender, args.model, args.hours * 3600, args.batch_seconds)
        return
    FOLDER.mkdir(exist_ok=True)
    print(f"{machine()}; {args.hours:g} h of audio, FastConformer {args.width} x {args.layers}")
    for kind in args.kind or ("ctc", "tdt"):
        bench(kind, args)


def machine() -> str:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()}, no GPU"
    return f"{device}, {len(os.sched_getaffinity(0))} cores, torch {torch.__version__}"


def bench(kind: Kind, args: argparse.Namespace) -> None:
    model = FOLDER / f"{kind}-{args.width}x{args.layers}.nemo"
    if not model.exists():
        build_model(kind, model.with_suffix(".unfinished"), width=args.width, layers=args.layers)
        model.with_suffix(".unfinished").rename(model)
    audio = args.hours * 3600
    size = ["--hours", str(args.hours), "--batch-seconds", str(args.batch_seconds)]
    alone, theirs = run("model", model, size), run("transcribe", model, size)
    parts = run("parts", model, size, OMP_NUM_THREADS="1")  # on a CPU threads side by side would each be counted
    ours, usage = end_to_end(model, audio)
    rate = audio / ours.wall_seconds
    working = usage["worker_seconds"] - usage["seconds"]["start"]
    print(f"\n{kind}: audio seconds per second")
    print(f"  model alone               {alone['rate']:9.0f}   ({alone['letters']:.1f} letters per second)")
    print(f"  NeMo's transcribe()       {theirs['rate']:9.0f}   batch {PEER_BATCH}")
    print(f"  ours, files to files      {rate:9.0f}   whole run, {ours.wall_seconds:.1f} s, {ours.peak_gb:.1f} GB")
    print(f"  ours, once it has started {audio / working:9.0f}   model busy {usage['seconds']['model'] / working:.0%}")
    print(f"  model alone / transcribe()  {alone['rate'] / theirs['rate']:.2f}")
    print(f"  end to end / model alone    {audio / working / alone['rate']:.2f} once started, ", end="")
    print(f"{rate / alone['rate']:.2f} whole run")
    whole = sum(parts["parts"].values())
    print("  parts of the model: " + ", ".join(f"{name} {s / whole:.0%}" for name, s in parts["parts"].items()))
    print(f"  waited for, of {usage['worker_seconds']:.0f} s: ", end="")
    print(", ".join(f"{step} {spent:.1f} s" for step, spent in usage["seconds"].items()))


def run(contender: str, model: Path, size: list[str], **environment: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.bench_gpu", "--contender", contender, "--model", str(model), *size]
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    ran = measure(command, {"PYTHONPATH": path, **environment})
    result: dict[str, Any] = json.loads(ran.output.strip().splitlines()[-1])
    return result


def lengths(audio: float, shortest: float, longest: float) -> Iterator[int]:
    """Samples per piece, log-uniform between the bounds, until there is enough."""
    rng = np.random.default_rng(0)
    while audio > 0:
        seconds = min(float(np.exp(rng.uniform(np.log(shortest), np.log(longest)))), max(audio, 1.0))
        audio -= seconds
        yield int(seconds * RATE)


def pieces(audio: float) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    """Views into an hour of speech, so that fifty hours fit into memory."""
    source = speech()
    held: list[np.ndarray[Any, np.dtype[np.float32]]] = []
    while sum(map(len, held)) < min(audio + 60, 3600) * RATE:
        held.append(next(source))
    hour = np.concatenate(held)
    rng = np.random.default_rng(1)
    found = []
    for size in lengths(audio, *PIECE_SECONDS):
        start = int(rng.integers(0, max(1, len(hour) - size)))
        found.append(hour[start : start + size])
    return found


def contend(contender: str, model: Path, audio: float, batch_seconds: float) -> None:
    arrays = sorted(pieces(audio), key=len, reverse=True)
    call = {"model": model_alone, "parts": model_alone, "transcribe": transcribe}[contender]
    print(json.dumps(call(model, arrays, batch_seconds, contender == "parts")))


def model_alone(model: Path, arrays: list[Any], batch_seconds: float, parts: bool) -> dict[str, Any]:
    from concurrent.futures import ThreadPoolExecutor

    from transcription_worker.engines.nemo import NemoEngine

    engine = NemoEngine(model, scratch=FOLDER / "scratch")
    engine.load()
    batches = []
    while arrays:
        size = max(1, int(batch_seconds * RATE / len(arrays[0])))
        batches.append(arrays[:size])
        del arrays[:size]
    engine.transcribe(batches[0])  # the allocator and the kernels are warm
    clocks: dict[str, float] = defaultdict(float)
    if parts:
        clock_parts(engine, clocks)
    start = time.monotonic()
    with ThreadPoolExecutor(1 if parts else engine.callers) as callers:
        heard = list(callers.map(engine.transcribe, batches))
    seconds = time.monotonic() - start
    audio = sum(len(one) for batch in batches for one in batch) / RATE
    letters = sum(len(one.text) for batch in heard for one in batch)
    clocks["host"] = seconds - sum(clocks.values()) if parts else 0.0
    return {"rate": audio / seconds, "letters": letters / audio, "parts": clocks}


def clock_parts(engine: Any, clocks: dict[str, float]) -> None:
    """Every part waits for the device before and after it, so that its time is its own."""
    import torch

    def clocked(name: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = synchronized()
            result = inner(*args, **kwargs)
            clocks[name] += synchronized() - begun
            return result

        return timed

    def synchronized() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.monotonic()

    engine._features = clocked("features", engine._features)
    engine._model.encoder.forward = clocked("encoder", engine._model.encoder.forward)
    engine._head = clocked("decoder", engine._head)


def transcribe(model: Path, arrays: list[Any], batch_seconds: float, parts: bool) -> dict[str, Any]:
    """NeMo's own call on arrays, the longest first, in bfloat16 on a GPU as its leaderboard runs do."""
    import torch
    from nemo.collections.asr.models import ASRModel
    from nemo.utils import logging as nemo_logging

    nemo_logging.set_verbosity(nemo_logging.ERROR)
    there = torch.cuda.is_available()
    asr = ASRModel.restore_from(str(model), map_location="cuda" if there else "cpu").eval()
    with torch.inference_mode(), torch.autocast("cuda", dtype=torch.bfloat16, enabled=there):
        asr.transcribe(arrays[:PEER_BATCH], batch_size=PEER_BATCH, verbose=False)
        start = time.monotonic()
        heard = asr.transcribe(arrays, batch_size=PEER_BATCH, verbose=False)
        seconds = time.monotonic() - start
    audio = sum(map(len, arrays)) / RATE
    letters = sum(len(one.text) for one in heard)
    return {"rate": audio / seconds, "letters": letters / audio, "parts": {}}


def end_to_end(model: Path, audio: float) -> tuple[Measured, dict[str, Any]]:
    """`transcription run` on FLAC files; what its report says of the workers' time."""
    folder = FOLDER / "gpu-job"
    shutil.rmtree(folder, ignore_errors=True)
    source = folder / "in"
    source.mkdir(parents=True)
    supply = speech()
    written: list[Path] = []
    for number, size in enumerate(lengths(audio, *RECORDING_SECONDS)):
        path = source / f"r{number:05d}.flac"
        if number < 200:  # encoding takes its time: later ones are the first ones again
            held = [next(supply)]
            while sum(map(len, held)) < size:
                held.append(next(supply))
            sf.write(path, np.concatenate(held)[:size], RATE)
            written.append(path)
        else:
            os.link(written[number % len(written)], path)
    workers = {"gpus": 1, "scratch": {"minFree": "1Mi"}}
    job = Job.of(folder, source=source, output=folder / "out", model={"uri": str(model)}, workers=workers)
    try:
        ran = measure(job.command("--workers", "1"), {})
        (summary,) = (folder / "out").glob("_transcription/*/report/summary.json")
        found = json.loads(summary.read_text())
        usage: dict[str, Any] = found["usage"]
        # What was linked is not as long as was asked for.
        scale = found["audio_seconds"] / audio
        return Measured(ran.wall_seconds / scale, ran.cpu_seconds, 0.0, ran.peak_bytes, ""), {
            **usage,
            "worker_seconds": usage["worker_seconds"] / scale,
            "seconds": {step: seconds / scale for step, seconds in usage["seconds"].items()},
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
