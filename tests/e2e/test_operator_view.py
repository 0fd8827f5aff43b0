"""What people and machines see of a job while it runs: columns, `describe`, events, progress, metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.fast_worker import FastJobs, operated
from tests.e2e.operating import Operator

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

STORY = ["Planning", "PlanWritten", "Running", "Reporting", "Completed"]


@pytest.fixture(scope="module")
def operating(
    cluster: Cluster, namespaces: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[FastJobs, Operator]]:
    with operated(cluster, namespaces, tmp_path_factory.mktemp("operator")) as (jobs, one, _):
        yield jobs, one


def columns(cluster: Cluster, jobs: FastJobs, *options: str) -> dict[str, str]:
    """The one line of `kubectl get tj`, by heading."""
    text = cluster.kubectl("get", "tj", *options, f"--namespace={jobs.namespace}").stdout
    head, line = text.splitlines()
    starts = [match.start() for match in re.finditer(r"\S+", head)]
    ends = [*starts[1:], len(line)]
    return {head[a:b].strip(): line[a:b].strip() for a, b in zip(starts, ends, strict=True)}


def sample(one: Operator, name: str, **labels: str) -> float:
    """The sum of a metric's samples that bear these labels."""
    return sum(
        found.value
        for family in text_string_to_metric_families(one.get("/metrics"))
        for found in family.samples
        if found.name == f"transcription_operator_{name}" and labels.items() <= found.labels.items()
    )


def test_a_running_job_shows_its_progress_and_a_finished_one_its_story(
    cluster: Cluster, operating: tuple[FastJobs, Operator]
) -> None:
    jobs, one = operating
    jobs.start("calls", work="serve; hold")
    wait_for(lambda: jobs.status("calls").get("progress", {}).get("speed"), 60, "the worker to be heard")
    status = jobs.status("calls")
    assert status["model"] == {"name": "nvidia/parakeet-tdt-0.6b-v3", "digest": "sha256:fast"}
    assert status["failures"] == [{"key": "bad.wav", "reason": "Truncated", "message": "It ends early."}]
    # In ledgers 4 done and 1 failed, beside them 1 done: 50 s of audio in 600 of 1200 bytes, and 5 a second.
    shown = columns(cluster, jobs)
    assert {name: shown[name] for name in ("NAME", "PHASE", "DONE", "FAILED", "SPEED", "ETA")} == {
        "NAME": "calls",
        "PHASE": "Running",
        "DONE": "6/10",
        "FAILED": "1",
        "SPEED": "5",
        "ETA": "10s",
    }
    wide = columns(cluster, jobs, "--output=wide")
    assert (wide["WORKERS"], wide["MODEL"], wide["OUTPUT"]) == ("1/1", "nvidia/parakeet-tdt-0.6b-v3", "s3://calls/out/")
    assert sample(one, "jobs", phase="Running") == 1
    jobs.let_go("calls", "work")
    jobs.await_condition("calls", "Complete")
    cluster.kubectl("wait", "--for=condition=Complete", "tj/calls", f"--namespace={jobs.namespace}", "--timeout=5s")
    done = columns(cluster, jobs)
    assert (done["PHASE"], done["DONE"], done["FAILED"]) == ("Succeeded", "10/10", "0")
    wait_for(lambda: len(jobs.events("calls")) == len(STORY), 10, "the last event")
    described = cluster.kubectl("describe", "tj", "calls", f"--namespace={jobs.namespace}").stdout
    events = described.partition("\nEvents:")[2]
    # kubectl puts those of one second in any order.
    assert sorted(line.split()[1] for line in events.splitlines()[3:] if line.strip()) == sorted(STORY)
    assert [reason for reason, _ in jobs.events("calls")] == STORY


def test_metrics_count_jobs_passes_and_requests(operating: tuple[FastJobs, Operator]) -> None:
    jobs, one = operating
    before = {verb: sample(one, "api_requests_total", verb=verb) for verb in ("POST", "PATCH", "DELETE")}
    passes, succeeded = sample(one, "pass_seconds_count"), sample(one, "jobs", phase="Succeeded")
    jobs.start("counted")
    jobs.start("counted-failed", plan='fail 78 "No such bucket."')
    jobs.await_condition("counted", "Complete")
    jobs.await_condition("counted-failed", "Failed")
    wait_for(lambda: sample(one, "jobs", phase="Succeeded") == succeeded + 1, 10, "the job to be counted")
    assert sample(one, "jobs", phase="Failed") == 1
    assert sample(one, "pass_seconds_count") > passes
    writes = {verb: sample(one, "api_requests_total", verb=verb) - count for verb, count in before.items()}
    assert 4 <= writes["PATCH"] <= 20 and 9 <= writes["POST"] <= 15 and writes["DELETE"] == 0
    assert sum(writes.values()) <= 25 + 10
    assert sample(one, "errors_total") == 0
    assert sample(one, "api_requests_total", code="403") == 0
    assert one.get("/healthz") and one.get("/readyz")
