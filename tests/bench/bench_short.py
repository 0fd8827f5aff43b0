"""`python -m tests.bench.bench_short`: thousands of recordings of two seconds, S3 to S3: what each costs by itself.

Beside our job stands a loop that only moves the bytes: it asks for each transcript, gets each recording and puts two
objects of a transcript's size, on as many threads as the worker has readers, with boto3. Prints recordings per second
of both, their ratio, and CPU milliseconds per recording. Then the same four requests through our store, made by the
process itself and by another one: what they take of the interpreter that also feeds the model, which is what bounds a
worker that has CPUs enough. Nothing passes or fails by time.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import re
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench.measure import Measured, measure
from tests.jobs import REPOSITORY, TINY_CTC, Job
from tests.s3server import S3Server, run_server
from tests.speech import make_recordings
from tests.store_processes import ready_processes
from transcription_worker.resources import cpu_count
from transcription_worker.store import Store, StoreSettings, open_store, with_processes
from transcription_worker.store.protocol import IfAbsent, ObjectInfo
from transcription_worker.widths import readers

FOLDER = REPOSITORY / ".bench" / "short"
THREADS = readers(cpu_count())
TRANSCRIPT = b"x" * 1500
BY_HAND = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

endpoint, threads, body = sys.argv[1], int(sys.argv[2]), b"x" * int(sys.argv[3])
client = boto3.client(
    "s3", endpoint_url=endpoint, config=Config(s3={"addressing_style": "path"}, max_pool_connections=threads)
)
pages = client.get_paginator("list_objects_v2").paginate(Bucket="bench", Prefix="in/")
keys = [entry["Key"] for page in pages for entry in page["Contents"]]

def move(key):
    target = "hand/" + key
    try:
        client.head_object(Bucket="bench", Key=target + ".json")
    except ClientError:
        pass
    client.get_object(Bucket="bench", Key=key)["Body"].read()
    client.put_object(Bucket="bench", Key=target + ".txt", Body=body)
    client.put_object(Bucket="bench", Key=target + ".json", Body=body, IfNoneMatch="*")

begun = time.monotonic()
with ThreadPoolExecutor(threads) as pool:
    list(pool.map(move, keys))
print(time.monotonic() - begun)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", type=int, default=4000, help="how many (default 4000)")
    args = parser.parse_args()
    shutil.rmtree(FOLDER, ignore_errors=True)
    try:
        (FOLDER / "server").mkdir(parents=True)
        make_recordings(FOLDER / "in", args.recordings)
        with run_server(FOLDER / "server") as server:
            os.environ.update(environment(server))
            compare(server, args.recordings)
            compare_requests(server, min(1000, args.recordings))
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)


def compare(server: S3Server, count: int) -> None:
    upload(server)
    hand = measure(
        [sys.executable, "-c", BY_HAND, server.endpoint, str(THREADS), str(len(TRANSCRIPT))], environment(server)
    )
    job = Job.of(
        FOLDER / "job",
        source="s3://bench/in/",
        output="s3://bench/out/",
        environment=environment(server),
        model={"uri": str(TINY_CTC)},
    )
    ours = measure(job.command(), job.full_environment)
    started = float(re.search(r"first batch after ([\d.]+) s", ours.output)[1])  # type: ignore[index]
    print(f"{count} recordings of {seconds_of(server) / count:.1f} s, one worker, CPU")
    print(f"{'':34}{'recordings/s':>14}{'CPU ms each':>13}{'peak GB':>9}")
    rates = [
        show("by hand: the bytes alone", hand, count, float(hand.output.split()[-1])),
        show("ours, from the first batch on", ours, count, ours.wall_seconds - started),
    ]
    print(f"ours over the bytes alone: {rates[1] / rates[0]:.2f}")


def compare_requests(server: S3Server, count: int) -> None:
    here = open_store("s3://bench/", StoreSettings(endpoint_url=server.endpoint))
    recordings = list(itertools.islice(here.list("in/"), count))
    with ready_processes() as processes:
        own = [
            cpu_of(functools.partial(move, store, recordings))
            for store in (here, with_processes(here, processes), here, with_processes(here, processes))
        ]
    by_itself, by_another = (1000 * (own[n] + own[n + 2]) / 2 / count for n in (0, 1))
    print(f"\nfour requests of {count} recordings, CPU ms each of the process that wants them")
    print(f"{'made by itself':34}{by_itself:14.2f}\n{'made by a store process':34}{by_another:14.2f}")
    print(f"by itself over by another: {by_itself / by_another:.1f}")


def move(store: Store, recordings: Sequence[ObjectInfo]) -> None:
    def move_one(recording: ObjectInfo) -> None:
        target = f"ours/{uuid.uuid4()}"
        store.head(f"{target}.json")
        store.fetch(recording.key, recording.etag, FOLDER / Path(target).name, lambda size: None)
        (FOLDER / Path(target).name).unlink()
        store.put(f"{target}.txt", TRANSCRIPT)
        store.put(f"{target}.json", TRANSCRIPT, metadata={"job": "bench"}, condition=IfAbsent())

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(move_one, recordings))


def cpu_of(work: Callable[[], None]) -> float:
    """CPU seconds of this process."""
    before = time.process_time()
    work()
    return time.process_time() - before


def upload(server: S3Server) -> None:
    client = server.client()
    client.create_bucket(Bucket="bench")
    files = sorted(path for path in (FOLDER / "in").rglob("*.wav"))
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda p: client.upload_file(str(p), "bench", f"in/{p.relative_to(FOLDER / 'in')}"), files))


def environment(server: S3Server) -> dict[str, str]:
    return {**server.environment, "AWS_ENDPOINT_URL": server.endpoint}


def seconds_of(server: S3Server) -> float:
    client = server.client()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="bench", Prefix="out/_transcription/")
    (key,) = [e["Key"] for page in pages for e in page["Contents"] if e["Key"].endswith("/summary.json")]
    return float(json.loads(client.get_object(Bucket="bench", Key=key)["Body"].read())["audio_seconds"])


def show(name: str, run: Measured, count: int, wall: float) -> float:
    print(f"{name:34}{count / wall:14.1f}{1000 * run.cpu_seconds / count:13.1f}{run.peak_gb:9.2f}")
    return count / wall


if __name__ == "__main__":
    main()
