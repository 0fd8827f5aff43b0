"""`python -m tests.bench.bench_short`: thousands of recordings of two seconds, S3 to S3: what each costs by itself.

Beside our job stands a loop that only moves the bytes: it asks for each transcript, gets each recording and puts two
objects of a transcript's size, on as many threads as the worker has readers, with boto3. Prints recordings per second
of both, their ratio, and CPU milliseconds per recording. Nothing passes or fails by time.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.bench.measure import Measured, measure
from tests.jobs import REPOSITORY, TINY_CTC, Job
from tests.s3server import S3Server, run_server
from tests.speech import make_recordings

FOLDER = REPOSITORY / ".bench" / "short"
THREADS = 8
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
            compare(server, args.recordings)
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
