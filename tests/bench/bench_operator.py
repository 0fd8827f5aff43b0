"""`make bench-operator`: what the operator adds to plain Jobs, and how it bears many jobs at once.

Runs on the cluster of $KUBECONFIG or on the test cluster. Prints figures and targets; nothing passes or fails by time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kubernetes import client, config

from tests.bench.hollow_node import PLACEMENT, hollow_node
from tests.bench.operator_start import StartBench
from tests.cluster.layout import Layout
from tests.cluster.lifecycle import fault
from tests.e2e.cluster import RESTRICTED, Cluster, connect, wait_for
from tests.e2e.fast_worker import PLAN_SAID, REPORT_SAID, FastJobs, fast_namespace, without_other_operators
from tests.e2e.operating import Operator, install_crd, operator, running
from transcription_operator.config import Config

WRITES = ("POST", "PATCH", "DELETE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the first part (default 5; 0 leaves it out)")
    parser.add_argument("--jobs", type=int, default=120, help="jobs at once in the second part (default 120; 0: none)")
    parser.add_argument("--real-pods", action="store_true", help="start the pods of the second part for real")
    asked = parser.parse_args()
    with the_cluster() as cluster, tempfile.TemporaryDirectory() as folder:
        install_crd(cluster)
        without_other_operators(cluster)
        api = config.new_client_from_config(str(cluster.kubeconfig))
        if asked.rounds:
            first_container(cluster, api, Path(folder), asked.rounds)
        if asked.jobs:
            many_jobs(cluster, api, Path(folder), asked.jobs, real=asked.real_pods)


@contextmanager
def the_cluster() -> Iterator[Cluster]:
    """That of $KUBECONFIG, else the test cluster, left as it was found."""
    if kubeconfig := os.environ.get("KUBECONFIG"):
        yield connect(Path(kubeconfig))
        return
    layout = Layout()
    ran_before = fault(layout) is None
    subprocess.run([sys.executable, "-m", "tests.cluster", "up"], check=True, stdout=subprocess.DEVNULL)
    try:
        yield connect(layout.kubeconfig)
    finally:
        if not ran_before:
            subprocess.run([sys.executable, "-m", "tests.cluster", "down"], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def operated(cluster: Cluster, folder: Path) -> Iterator[tuple[FastJobs, Operator]]:
    """A namespace and an operator with its settings as shipped."""
    deleted: list[str] = []
    with fast_namespace(cluster, deleted) as jobs:
        one = operator(
            cluster, folder, jobs.namespace, TRANSCRIPTION_RESYNC_SECONDS="10", TRANSCRIPTION_GRACE_SECONDS="300"
        )
        with running(one):
            yield jobs, one
    cluster.kubectl("wait", "--for=delete", f"namespace/{deleted[0]}", "--timeout=300s", timeout=310)


def first_container(cluster: Cluster, api: client.ApiClient, folder: Path, rounds: int) -> None:
    print(f"From apply to the first work container running, {rounds} rounds, seconds:\n")
    with operated(cluster, folder) as (jobs, one):
        bench = StartBench(api, jobs, Config(worker_image=cluster.busybox_image))
        bench.round(0)  # images, caches, imports
        before = requests(one)
        starts = [bench.round(number) for number in range(1, rounds + 1)]
        per_job = {verb: (count - before.get(verb, 0)) / rounds for verb, count in requests(one).items()}
    rows = {
        "plain Job with the work pod": [start.alone for start in starts],
        "two plain Jobs by hand, plan then work": [start.by_hand for start in starts],
        "TranscriptionJob": [start.ours for start in starts],
    }
    alone, by_hand, ours = (statistics.median(values) for values in rows.values())
    print(f"{'':42}{'median':>8}{'min':>8}{'max':>8}")
    for name, values in rows.items():
        print(f"{name:42}{statistics.median(values):8.2f}{min(values):8.2f}{max(values):8.2f}")
    print(f"\nTranscriptionJob over the plain Job {ours / alone:.2f}, over the two by hand {ours / by_hand:.2f}")
    print(f"overhead with the plan step in it   {ours - alone:.2f} s; the plan step itself {by_hand - alone:.2f} s")
    beside = ours - by_hand
    print(f"overhead beside the plan step       {beside:.2f} s (target 1.5: {verdict(beside <= 1.5)})")
    print(f"requests per job, whole life        {shown(per_job)}; a plain Job is one write of its user\n")


def many_jobs(cluster: Cluster, api: client.ApiClient, folder: Path, count: int, *, real: bool) -> None:
    kind = "real pods" if real else "pods that end at once on a node without kubelet"
    print(f"{count} jobs at once, {3 * count} {kind}:\n", flush=True)
    with operated(cluster, folder) as (jobs, one):
        idle = peak_memory(one)
        if real:
            baseline, seconds = storm(cluster, jobs, one, count, template={})
        else:
            with hollow_node(api, {"plan": PLAN_SAID, "report": REPORT_SAID}):
                baseline, seconds = storm(cluster, jobs, one, count, template=PLACEMENT)
        made = {verb: number / count for verb, number in requests(one).items()}
        writes = sum(made.get(verb, 0.0) for verb in WRITES)
        memory, cpu = peak_memory(one), sample(one, "process_cpu_seconds_total")
        throttled = sample(one, "transcription_operator_api_requests_total", 'code="429"')
        errors = sample(one, "transcription_operator_errors_total")
        passes = sample(one, "transcription_operator_pass_seconds_count")
    floor = 3 * count / baseline
    print(f"plain Jobs alone                    {baseline:.1f} a second, so {3 * count} take {floor:.0f} s")
    print(f"all jobs Complete after             {seconds:.0f} s: {seconds / floor:.2f} of that")
    print(f"operator, peak resident             {memory / 1e6:.0f} MB (target 150: {verdict(memory < 150e6)})")
    print(f"operator before the first job       {idle / 1e6:.0f} MB")
    print(f"operator, CPU                       {cpu:.0f} s, {1000 * cpu / count:.0f} ms per job")
    print(f"passes per job                      {passes / count:.1f}")
    print(
        f"requests per job                    {shown(made)}; writes {writes:.1f} (target 25: {verdict(writes <= 25)})"
    )
    print(f"answers 429                         {throttled:.0f} (target 0: {verdict(throttled == 0)})")
    print(f"passes that ended in an error       {errors:.0f}")


def storm(cluster: Cluster, jobs: FastJobs, one: Operator, count: int, template: dict[str, Any]) -> tuple[float, float]:
    """Plain Jobs per second without the operator's doing; seconds from the first apply until all jobs are Complete."""
    baseline = plain_jobs(cluster, jobs, count // 3 or 1, template)
    manifests = [jobs.fast(f"many-{number}", template=template) for number in range(count)]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    begun = time.monotonic()
    cluster.kubectl("create", "--filename=-", input=text, timeout=600)
    print(f"created within                      {time.monotonic() - begun:.0f} s", flush=True)
    wait_for(lambda: sample(one, "transcription_operator_jobs", 'phase="Succeeded"') == count, 3600, "all jobs")
    return baseline, time.monotonic() - begun


def plain_jobs(cluster: Cluster, jobs: FastJobs, count: int, template: dict[str, Any]) -> float:
    """Jobs of one pod that ends at once, per second."""
    container = {"name": "work", "image": cluster.busybox_image, "command": ["true"], "securityContext": RESTRICTED}
    pod = {"restartPolicy": "Never", "containers": [container], **template}
    manifests = [
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": f"plain-{number}", "namespace": jobs.namespace}}
        | {"spec": {"template": {"spec": pod}}}
        for number in range(count)
    ]
    begun = time.monotonic()
    cluster.kubectl(
        "create", "--filename=-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    )
    place = f"--namespace={jobs.namespace}"
    cluster.kubectl("wait", "--for=condition=Complete", "jobs", "--all", place, "--timeout=1800s", timeout=1810)
    taken = time.monotonic() - begun
    cluster.kubectl("delete", "jobs", "--all", place, "--cascade=foreground", timeout=600)
    return count / taken


def sample(one: Operator, name: str, labels: str = "") -> float:
    """The sum of a metric's samples with these labels."""
    lines = [line for line in one.get("/metrics").splitlines() if line.startswith(name) and labels in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def requests(one: Operator) -> dict[str, float]:
    """By verb."""
    verbs = re.findall(r'api_requests_total\{[^}]*verb="(\w+)"', one.get("/metrics"))
    return {
        verb: sample(one, "transcription_operator_api_requests_total", f'verb="{verb}"') for verb in sorted(set(verbs))
    }


def peak_memory(one: Operator) -> int:
    """Bytes: the kernel's own high-water mark."""
    assert one.process is not None
    status = Path(f"/proc/{one.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def shown(per_job: dict[str, float]) -> str:
    return ", ".join(f"{verb} {number:.1f}" for verb, number in per_job.items())


def verdict(reached: bool) -> str:
    return "reached" if reached else "not reached"


if __name__ == "__main__":
    main()
