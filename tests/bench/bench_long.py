"""`make bench-long`: recordings of three hours beside the same audio in recordings of ten minutes, for each codec.

Prints audio seconds per second from the first batch on, their ratio and the peak memory. Nothing passes or fails by
time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import shutil
from pathlib import Path

import numpy as np

from tests.bench.corpus import ENCODERS, Voices, encode
from tests.bench.measure import Measured, measure
from tests.jobs import REPOSITORY, TINY_CTC, TINY_TDT, Job

FOLDER = REPOSITORY / ".bench" / "long"
PARTS = 18


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=180.0, help="length of the long recording (default 180)")
    parser.add_argument("--codecs", nargs="+", choices=ENCODERS, default=list(ENCODERS))
    parser.add_argument("--model", choices=("ctc", "tdt"), default="ctc")
    args = parser.parse_args()
    model = TINY_CTC if args.model == "ctc" else TINY_TDT
    rng, voices = random.Random(0), Voices()
    parts = [voices.speak(args.minutes * 60 / PARTS, rng)[0] for _ in range(PARTS)]
    cores = len(os.sched_getaffinity(0))
    print(f"{platform.machine()}, {cores} cores, Python {platform.python_version()}; model {model.name}")
    print(f"one recording of {args.minutes:g} min beside {PARTS} of {args.minutes / PARTS:g} min, the same audio\n")
    print(f"{'codec':8}{'long, audio s/s':>18}{'short, audio s/s':>18}{'ratio':>8}{'long, GB':>10}{'short, GB':>11}")
    for codec in args.codecs:
        shutil.rmtree(FOLDER, ignore_errors=True)
        try:
            for folder in ("long", "short"):
                (FOLDER / folder).mkdir(parents=True)
            encode(np.concatenate(parts), FOLDER / "long" / f"all.{codec}")
            for number, part in enumerate(parts):
                encode(part, FOLDER / "short" / f"{number:02d}.{codec}")
            (slow, long), (quick, short) = transcribe("long", model), transcribe("short", model)
        finally:
            shutil.rmtree(FOLDER, ignore_errors=True)
        memory = f"{long.peak_gb:10.2f}{short.peak_gb:11.2f}"
        print(f"{codec:8}{slow:18.0f}{quick:18.0f}{slow / quick:8.2f}{memory}", flush=True)


def transcribe(name: str, model: Path) -> tuple[float, Measured]:
    """Audio seconds per second from the first batch on."""
    folder = FOLDER / f"job-{name}"
    job = Job.of(folder, source=FOLDER / name, output=folder / "out", model={"uri": str(model)})
    run = measure(job.command(), {})
    started = float(re.search(r"first batch after ([\d.]+) s", run.output)[1])  # type: ignore[index]
    (summary,) = (folder / "out").rglob("summary.json")
    return json.loads(summary.read_text())["audio_seconds"] / (run.wall_seconds - started), run


if __name__ == "__main__":
    main()
