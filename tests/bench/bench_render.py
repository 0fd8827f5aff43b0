"""`python -m tests.bench.bench_render`: a format added later, rendered from committed transcripts without a model.

Recordings per CPU second: from the bytes of a .json to the bytes of each format, and as a worker does it, through a
store: looking for the commit, reading it, writing the format and saying so in the commit. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

from tests.bench.stub_s3 import TRANSCRIPT
from tests.jobs import REPOSITORY
from transcription_worker.commit import Committer, Overwrite
from transcription_worker.formats import from_json, render_stored
from transcription_worker.store import open_store
from transcription_worker.store.protocol import Store
from transcription_worker.store.settings import StoreSettings

ADDED = ("txt", "srt", "vtt", "ctm")
THREADS = 8
"""As many as a worker reads with."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5_000, help="recordings (default 5,000)")
    args = parser.parse_args()
    words = len(from_json(TRANSCRIPT).text.split())
    print(f"{args.count:,} recordings of {words} words each, a .json of {len(TRANSCRIPT):,} bytes")
    print(f"{'':44}{'recordings per CPU s':>22}{'CPU ms each':>13}")
    for name in ADDED:
        show(f"{name} from the bytes", args.count, lambda name=name: repeat(args.count, name))  # type: ignore[misc]
    show("all four from the bytes", args.count, lambda: repeat(args.count, *ADDED))
    with tempfile.TemporaryDirectory() as folder:
        through_store("a directory", open_store(folder), args.count)
    os.environ.update(AWS_ACCESS_KEY_ID="bench", AWS_SECRET_ACCESS_KEY="bench")
    with stub() as endpoint:
        settings = StoreSettings(endpoint_url=endpoint, region="us-east-1")
        through_store("S3, each with 4 requests", open_store("s3://texts/out/", settings), args.count)


def repeat(count: int, *formats: str) -> None:
    for _ in range(count):
        render_stored(TRANSCRIPT, formats)


def through_store(name: str, store: Store, count: int) -> None:
    """Commit `count` transcripts as .json alone, then let a job come that wants srt too."""
    keys = [f"{number % 100:02d}/{number:06d}.flac" for number in range(count)]
    before, after = committer(store, ["json"]), committer(store, ["json", "srt"])
    transcript = from_json(TRANSCRIPT)
    each(keys, lambda key: before.commit(replace(transcript, source=replace(transcript.source, key=key)), None))

    def add(key: str) -> None:
        found = after.find(key)
        if found is None or after.add_missing_formats(key, found) != ["srt"]:
            raise SystemExit(f"{key} got no srt")

    show(f"srt through {name}", count, lambda: each(keys, add))


def committer(store: Store, formats: Sequence[str]) -> Committer:
    return Committer(
        store,
        job_id="second-00000000",
        model_digest="s3:model",
        options_digest="o",
        formats=formats,
        overwrite=Overwrite.IF_CHANGED,
        conditional_writes=True,
    )


def each(keys: Sequence[str], work: Callable[[str], object]) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(work, keys):
            pass


def show(name: str, count: int, work: Callable[[], None]) -> None:
    cpu = time.process_time()
    work()
    cpu = time.process_time() - cpu
    print(f"{name:44}{count / cpu:22,.0f}{1000 * cpu / count:13.2f}", flush=True)


@contextmanager
def stub() -> Iterator[str]:
    """A server that answers at once, in a process of its own; its address."""
    command = [sys.executable, "-m", "tests.bench.stub_s3", "--count", "1", "--folders", "1", "--options", "o"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as server:
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


if __name__ == "__main__":
    main()
