"""`make bench-million`: plan and report of a very large bucket, on a store that answers at once.

Listings, the first plan, the plan of the same job over its finished bucket, and the report: seconds, keys per second,
peak memory and requests, each in a process of its own. Nothing here passes or fails by time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import urllib.request
from collections import Counter

from tests.bench.measure import Measured, measure
from tests.jobs import REPOSITORY, Job
from transcription_api.job import TranscriptionJob, options_digest
from transcription_worker.layout import JobLayout
from transcription_worker.plan import Plan

FOLDER = REPOSITORY / ".bench" / "million"
FORMATS = ["json", "srt"]
LIST = """
import sys
from transcription_worker.store import open_store
print(sum(1 for _ in open_store(sys.argv[1]).scan()))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000, help="recordings (default 1,000,000)")
    parser.add_argument("--folders", type=int, default=365, help="folders that they lie in (default 365)")
    args = parser.parse_args()
    shutil.rmtree(FOLDER, ignore_errors=True)
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}")
    print(
        f"{args.count:,} recordings in {args.folders} folders, two formats; the server has cores of the same machine\n"
    )
    job = job_of("s3://texts/out/")
    digest = options_digest(TranscriptionJob.model_validate(job.manifest).spec.transcription)
    command = [sys.executable, "-m", "tests.bench.stub_s3", "--count", str(args.count)]
    command += ["--folders", str(args.folders), "--options", digest]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as server:
        try:
            assert server.stdout is not None
            bench(f"http://127.0.0.1:{int(server.stdout.readline())}", args.count)
        finally:
            server.kill()
            shutil.rmtree(FOLDER, ignore_errors=True)


def job_of(output: str, name: str = "job") -> Job:
    spec = {
        "input": {"uri": "s3://calls/in/"},
        "output": {"uri": output, "formats": FORMATS},
        "model": {"uri": "s3://models/none.nemo"},
        "workers": {"replicas": 32, "gpus": 0, "scratch": {"minFree": "1Mi"}},
    }
    return Job(FOLDER, spec, {}, name)


def bench(endpoint: str, count: int) -> None:
    environment = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_REGION": "us-east-1",
    }
    asked = Counter(requests(endpoint))
    print(f"{'':42}{'wall s':>9}{'CPU s':>9}{'others':>9}{'peak MB':>9}   requests")

    def show(name: str, run: Measured) -> None:
        now = Counter(requests(endpoint))
        counts = ", ".join(f"{kind} {number:,}" for kind, number in sorted((now - asked).items()))
        asked.update(now - asked)
        seconds = f"{run.wall_seconds:9.1f}{run.cpu_seconds:9.1f}{run.other_cpu_seconds:9.1f}"
        print(f"{name:42}{seconds}{run.peak_bytes / 1e6:9.0f}   {counts}", flush=True)

    listings = []
    for name, uri in (("listing of the input", "s3://calls/in/"), ("listing of the output", "s3://texts/out/")):
        run = measure([sys.executable, "-c", LIST, uri], environment)
        show(f"{name}, {int(run.output):,} keys", run)
        listings.append(run)
        print(f"    {int(run.output) / run.wall_seconds:,.0f} keys/s")
    first = step(job_of("s3://empty/out/"), "plan", environment)
    show("plan, nothing done before", first)
    again = step(job_of("s3://texts/out/"), "plan", environment)
    show("plan of the finished bucket", again)
    both = sum(run.wall_seconds for run in listings)
    print(f"    {first.wall_seconds / listings[0].wall_seconds:.2f} times the listing of the input, ", end="")
    print(f"{again.wall_seconds / both:.2f} times both listings")
    put_plan(endpoint, count)
    show("report", step(job_of("s3://texts/out/", "first"), "report", environment, "00000000"))


def step(job: Job, name: str, environment: dict[str, str], uid: str = "01234567") -> Measured:
    """One entry point as a pod runs it."""
    manifest = {**job.manifest, "metadata": {"name": job.name, "uid": uid}}
    own = {
        "TRANSCRIPTION_JOB": json.dumps(manifest),
        "TRANSCRIPTION_SCRATCH": str(job.scratch),
        "TRANSCRIPTION_CACHE": str(FOLDER / "cache"),
    }
    return measure([sys.executable, "-m", "transcription_worker", name], {**environment, **own})


def put_plan(endpoint: str, count: int) -> None:
    """The plan that the ledgers of the finished job belong to."""
    plan = Plan("first-00000000", "a", "2026-11-24T00:00:00Z", count, count * 400_000, count * 22.5, 0, 1000, True)
    key = JobLayout(plan.job_id).plan
    request = urllib.request.Request(f"{endpoint}/texts/out/{key}", data=plan.to_json(), method="PUT")
    urllib.request.urlopen(request).close()


def requests(endpoint: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{endpoint}/calls/.requests") as answer:
        found: dict[str, int] = json.load(answer)
    return found


if __name__ == "__main__":
    main()
