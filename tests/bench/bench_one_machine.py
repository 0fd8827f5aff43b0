"""`make bench`: one machine, one corpus in a real S3 server, the contenders one after the other in one run.

Prints audio seconds per second of each and their ratios, and the CPU seconds that `others` on the machine took
meanwhile. Nothing here passes or fails by time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench.corpus import make_corpus
from tests.bench.measure import Measured, measure
from tests.jobs import REPOSITORY, TINY_CTC, TINY_TDT, Job
from tests.s3server import S3Server, run_server

FOLDER = REPOSITORY / ".bench"
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=4.0, help="hours of audio (default 4)")
    parser.add_argument("--model", choices=("ctc", "tdt"), default="tdt")
    parser.add_argument("--workers", type=int, default=1, help="worker processes (default 1, on every core)")
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    model = TINY_CTC if args.model == "ctc" else TINY_TDT
    corpus = FOLDER / f"corpus-{args.hours:g}h"
    audio = make_corpus(corpus, args.hours)
    files = sum(not p.name.startswith(".") for p in corpus.iterdir())
    size = sum(p.stat().st_size for p in corpus.iterdir())
    print(f"{platform.machine()}, {cores} cores, Python {platform.python_version()}; model {model.name}")
    print(f"corpus: {files} recordings, {audio / 3600:.2f} h, {size / 1e6:.0f} MB (wav, flac, mp3, opus, m4a)\n")

    server_folder = FOLDER / "s3"
    shutil.rmtree(server_folder, ignore_errors=True)
    server_folder.mkdir(parents=True)
    try:
        with run_server(server_folder) as server:
            bench(server, corpus, audio, model, cores, args.workers)
    finally:
        shutil.rmtree(server_folder, ignore_errors=True)


def bench(server: S3Server, corpus: Path, audio: float, model: Path, cores: int, workers: int) -> None:
    client = server.client()
    client.create_bucket(Bucket="bench")
    with ThreadPoolExecutor(8) as pool:
        names = [p.name for p in corpus.iterdir() if not p.name.startswith(".")]
        list(pool.map(lambda name: client.upload_file(str(corpus / name), "bench", f"in/{name}"), names))

    decode = contender("decode-only", server, corpus, model, {})
    alone = contender("model-only", server, corpus, model, {})
    # A thread that waits for another burns CPU too: what the model needs is what it takes on one.
    one_thread = contender("model-only", server, corpus, model, ONE_THREAD)
    crowd = crowded("model-only", server, corpus, model, cores)
    start_up = contender("start-up", server, corpus, model, {})
    ours = run_ours(server, model, workers)
    hand = contender("by-hand", server, corpus, model, {})

    decode_cpu = decode.cpu_seconds
    model_wall, model_cpu = figures(alone)["seconds"], figures(one_thread)["cpu_seconds"]
    floor = (decode_cpu + model_cpu) / cores
    # Cores that share caches, memory or a physical core take longer for the same work when all of them have some.
    dearer = crowd / model_cpu
    least = (dearer * (decode_cpu + model_cpu) + figures(start_up)["cpu_seconds"]) / cores
    started = float(re.search(r"first batch after ([\d.]+) s", ours.output)[1])  # type: ignore[index]
    rates = {
        "(a) model only, arrays in memory": (audio / model_wall, alone),
        "(b) ours, S3 to S3, whole run": (audio / ours.wall_seconds, ours),
        "(b') ours, from the first batch on": (audio / (ours.wall_seconds - started), ours),
        "(c) download, transcribe(), upload": (audio / hand.wall_seconds, hand),
        "(c') the same without imports": (audio / figures(hand)["seconds"], hand),
    }
    print(f"{'':38}{'audio s/s':>10}{'wall s':>9}{'CPU s':>9}{'others':>9}{'peak GB':>9}")
    for name, (rate, run) in rates.items():
        seconds = f"{audio / rate:9.1f}{run.cpu_seconds:9.1f}{run.other_cpu_seconds:9.1f}"
        print(f"{name:38}{rate:10.0f}{seconds}{run.peak_gb:9.2f}")
    b, b_steady = audio / ours.wall_seconds, audio / (ours.wall_seconds - started)
    print(f"\nb/a  {b / (audio / model_wall):.2f}   b'/a  {b_steady / (audio / model_wall):.2f}")
    print(f"b/c  {hand.wall_seconds / ours.wall_seconds:.2f}")
    print(
        f"CPU allows {audio / floor:.0f} audio s/s (decode {decode_cpu:.1f} + model {model_cpu:.1f} CPU s on {cores} "
        f"cores): b is {b * floor / audio:.2f} of it, b' {b_steady * floor / audio:.2f}"
    )
    print(
        f"with every core at work a CPU second does {1 / dearer:.2f} of what it does alone, and importing and loading "
        f"take {figures(start_up)['cpu_seconds']:.1f} CPU s: no run can reach more than {floor / least:.2f} of it"
    )
    print(f"start of ours, s: {json.dumps(start_of_ours(server))}")
    print(f"by hand: {json.dumps({k: round(v, 1) for k, v in figures(hand).items()})}")


def contender(
    name: str, server: S3Server, corpus: Path, model: Path, environment: dict[str, str], scratch_name: str = ""
) -> Measured:
    scratch = FOLDER / "scratch" / (scratch_name or name)
    shutil.rmtree(scratch, ignore_errors=True)
    command = [sys.executable, "-m", "tests.bench.contenders", name, "--corpus", str(corpus), "--model", str(model)]
    command += ["--scratch", str(scratch), "--bucket", "bench"]
    try:
        run = measure(command, {**server.environment, "PYTHONPATH": str(REPOSITORY), **environment})
        print(f"{name}: {run.wall_seconds:.1f} s, {json.dumps(figures(run))}", flush=True)
        return run
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def crowded(name: str, server: S3Server, corpus: Path, model: Path, cores: int) -> float:
    """Mean CPU seconds of a contender on one thread while every core runs one like it."""
    with ThreadPoolExecutor(cores) as pool:
        runs = pool.map(lambda n: contender(name, server, corpus, model, ONE_THREAD, f"{name}-{n}"), range(cores))
        return sum(figures(run)["cpu_seconds"] for run in runs) / cores


def run_ours(server: S3Server, model: Path, workers: int) -> Measured:
    folder = FOLDER / "job"
    shutil.rmtree(folder, ignore_errors=True)
    job = Job.of(
        folder,
        source="s3://bench/in/",
        output="s3://bench/out/",
        environment={},
        model={"uri": str(model)},
    )
    run = measure(job.command("--workers", str(workers)), server.environment)
    print(f"ours: {run.wall_seconds:.1f} s, CPU {run.cpu_seconds:.1f} s", flush=True)
    return run


def start_of_ours(server: S3Server) -> dict[str, float]:
    """What the worker told of its start."""
    client = server.client()
    found = client.list_objects_v2(Bucket="bench", Prefix="out/")["Contents"]
    sheet = next(o["Key"] for o in found if "/workers/" in o["Key"])
    return dict(json.loads(client.get_object(Bucket="bench", Key=sheet)["Body"].read())["start"])


def figures(run: Measured) -> dict[str, float]:
    line = run.output.strip().splitlines()[-1]
    return {name: float(value) for name, value in json.loads(line).items()}


if __name__ == "__main__":
    main()
