"""The product: apply the example, watch it, wait for Complete, find the transcripts in the bucket."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.corpus import gate_before
from tests.e2e.operating import Jobs, install_crd, keys_below, operator, running, upload
from tests.jobs import EXAMPLES, TINY_CTC
from tests.s3server import S3Server
from transcription_operator.decide.child_outcome import LOG_LINE

pytestmark = [pytest.mark.cluster, pytest.mark.s3, pytest.mark.model]

AWSCLI = "awscli==1.46.3"
LETS = 3
EXPECTED = {row["file"]: row for row in map(json.loads, (EXAMPLES / "expected.jsonl").read_text().splitlines())}
GOOD = {name for name, row in EXPECTED.items() if "text" in row}
BAD = EXPECTED.keys() - GOOD


@dataclass(frozen=True)
class Story:
    """What was seen of a job from its first worker to its end.

    Attributes:
        columns, metrics: of `kubectl get tj` and of the worker, while the worker was in the middle.
        log: of the worker.
        keys: everything below the output.
    """

    server: S3Server
    job_id: str
    columns: dict[str, str]
    metrics: str
    waited: str
    status: dict[str, Any]
    columns_after: dict[str, str]
    events: list[str]
    complaints: list[str]
    log: list[str]
    keys: set[str]

    def read(self, key: str) -> bytes:
        return bytes(self.server.client().get_object(Bucket="transcripts", Key=f"2026-11/{key}")["Body"].read())

    def in_folder(self, part: str) -> set[str]:
        root = f"_transcription/{self.job_id}/{part}"
        return {key.removeprefix(root) for key in self.keys if key.startswith(root)}


def example(jobs: Jobs) -> dict[str, Any]:
    """examples/transcriptionjob.yaml, but for what the machine has not: its store's name, GPUs and memory."""
    manifest: dict[str, Any] = yaml.safe_load((EXAMPLES / "transcriptionjob.yaml").read_text())
    spec = manifest["spec"]
    here = jobs.manifest("here", source=spec["input"]["uri"], output=spec["output"]["uri"], model=spec["model"]["uri"])
    spec["storage"]["endpointUrl"] = here["spec"]["storage"]["endpointUrl"]
    spec["workers"] = here["spec"]["workers"]
    spec["failurePolicy"] = {"maxFailedRecordings": "50%"}  # the example's recordings are better than these
    return manifest


def columns(jobs: Jobs) -> dict[str, str]:
    """The line of `kubectl get tj`, by heading; an empty column has no heading's worth of text."""
    table = jobs.cluster.kubectl("get", "tj", "calls", f"--namespace={jobs.namespace}").stdout.splitlines()
    head, line = table
    names = head.split()
    starts = [*(head.index(name) for name in names), None]
    return {name: line[a:b].strip() for name, a, b in zip(names, starts, starts[1:], strict=False)}


def worker_metrics(jobs: Jobs) -> str:
    """The page of the one worker, as Prometheus would get it."""
    (pod,) = jobs.pods("calls", "work")
    with urlopen(f"http://{pod['status']['podIP']}:8080/metrics", timeout=10) as answer:
        return str(answer.read().decode())


@pytest.fixture(scope="module")
def story(
    cluster: Cluster, namespaces: list[str], s3: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    if not cluster.own:
        pytest.skip("a worker's pages cannot be reached in another cluster")
    namespace = f"test-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})
    namespaces.append(namespace)
    client = s3.client()
    for bucket in {"calls", "transcripts", "models"} - {one["Name"] for one in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=bucket)
    client.put_object(Bucket="models", Key="parakeet-tdt-0.6b-v3.nemo", Body=TINY_CTC.read_bytes())
    for folder in ("audio", "bad-audio"):
        upload(s3, "calls", EXAMPLES / folder, f"2026/11/{folder}/")
    install_crd(cluster)
    log_folder = tmp_path_factory.mktemp("operator")
    try:
        with gate_before(s3, LETS, "/2026/11/") as gate, running(operator(cluster, log_folder, namespace)) as one:
            jobs = Jobs(cluster, namespace, gate.server)
            jobs.secret()
            jobs.apply(example(jobs))
            done = f"{LETS}/{len(EXPECTED)}"
            wait_for(lambda: columns(jobs)["DONE"] == done, 240, f"{done} recordings to be done")
            shown, page = columns(jobs), worker_metrics(jobs)
            gate.open()
            place = f"--namespace={namespace}"
            wait = ("wait", "--for=condition=Complete", "tj/calls", place, "--timeout=240s")
            yield Story(
                server=s3,
                job_id=f"calls-{jobs.get('calls')['metadata']['uid'][:8]}",
                columns=shown,
                metrics=page,
                waited=cluster.kubectl(*wait, timeout=300).stdout,
                status=jobs.status("calls"),
                columns_after=columns(jobs),
                events=[reason for reason, _ in jobs.events("calls")],
                complaints=[line for line in one.lines if "Traceback" in line or "ERROR" in line],
                log=cluster.kubectl("logs", "job/calls-work", "--container=work", place).stdout.splitlines(),
                keys={key.removeprefix("2026-11/") for key in keys_below(s3, "transcripts", "2026-11/")},
            )
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false", "--ignore-not-found")
        cluster.kubectl("delete", "jobs", "--all", f"--namespace={namespace}", "--wait=false")


def test_job_is_complete_and_says_how_much_of_it(story: Story) -> None:
    assert story.waited == "transcriptionjob.transcription-operator.io/calls condition met\n"
    status = story.status
    assert (status["phase"], status["plan"]["recordings"]) == ("Succeeded", len(EXPECTED))
    complete = next(one for one in status["conditions"] if one["type"] == "Complete")
    assert complete["reason"] == "CompletedWithFailures"
    assert complete["message"] == f"{len(GOOD)} of {len(EXPECTED)} recordings have their transcript."
    assert (status["report"]["done"], status["report"]["failed"]) == (len(GOOD), len(BAD))
    assert status["report"]["uri"] == f"s3://transcripts/2026-11/_transcription/{story.job_id}/report/index.html"
    assert 5 <= len(status["failures"]) <= 10  # as many as fit into a termination message
    assert {one["key"]: one["reason"] for one in status["failures"]}.items() <= {
        name: EXPECTED[name]["reason"] for name in BAD
    }.items()
    assert story.complaints == []


def test_columns_and_events_tell_its_story(story: Story) -> None:
    assert list(story.columns) == ["NAME", "PHASE", "DONE", "FAILED", "SPEED", "ETA", "AGE"]
    assert story.columns["PHASE"] == "Running"
    after = story.columns_after
    assert (after["PHASE"], after["DONE"], after["FAILED"]) == (
        "Succeeded",
        f"{len(EXPECTED)}/{len(EXPECTED)}",
        str(len(BAD)),
    )
    told = ["Planning", "PlanWritten", "Running", "Reporting", "CompletedWithFailures"]
    assert sorted(story.events) == sorted(told)  # events of one second come in any order
    assert (story.events[0], story.events[-1]) == (told[0], told[-1])


def test_worker_in_the_middle_shows_what_it_does(story: Story) -> None:
    samples = {
        (sample.name.removeprefix("transcription_worker_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(story.metrics)
        for sample in family.samples
    }
    settled = sum(value for name, value in samples.items() if name[0] == "recordings_total")
    assert settled == LETS
    assert samples["queue_depth", "taken"] > 0
    assert samples["fetched_bytes_total",] > 0
    assert samples["scratch_free_bytes",] > 0
    assert samples["orphans_removed_total",] == 0
    assert samples["process_resident_memory_bytes",] > 0


def test_log_of_the_worker_has_one_line_for_every_recording_and_none_of_a_library(story: Story) -> None:
    assert [line for line in story.log if not LOG_LINE.match(line) or " transcription_worker" not in line] == []
    settled = [line for line in story.log if " audio=" in line]
    assert len(settled) == len(EXPECTED)
    for name, row in EXPECTED.items():
        (line,) = (line for line in settled if json.dumps(name) in line)
        assert f" done {json.dumps(name)}" in line if name in GOOD else f" {row['reason']}: " in line


def test_bucket_holds_what_the_layout_says_and_nothing_else(story: Story) -> None:
    transcripts = {f"{name}.{suffix}" for name in GOOD for suffix in ("json", "srt")}
    assert {key for key in story.keys if not key.startswith("_transcription/")} == transcripts
    plan = json.loads(story.read(f"_transcription/{story.job_id}/plan/plan.json"))
    shards = [f"{number:05d}" for number in range(plan["shards"])]
    assert story.in_folder("plan/") == {"plan.json", *(f"{plan['attempt']}/shard-{shard}.jsonl" for shard in shards)}
    assert story.in_folder("claims/") == {f"{shard}.0" for shard in shards}
    assert story.in_folder("ledger/") == {f"{shard}.jsonl" for shard in shards}
    assert story.in_folder("report/") == {"manifest.jsonl", "summary.json", "index.html"}
    workers = story.in_folder("workers/")
    assert workers and all(re.fullmatch(r"\d+-[0-9a-f]{8}\.json", name) for name in workers)
    parts = sum(len(story.in_folder(part)) for part in ("plan/", "claims/", "ledger/", "workers/", "report/"))
    assert len(story.keys) == len(transcripts) + parts, "there are other folders"
    assert not story.server.client().list_multipart_uploads(Bucket="transcripts").get("Uploads")


def test_texts_are_what_was_said_and_each_bad_file_has_its_reason(story: Story) -> None:
    heard = {name: json.loads(story.read(f"{name}.json"))["text"] for name in GOOD}
    assert heard == {name: EXPECTED[name]["text"] for name in GOOD}
    manifest = story.read(f"_transcription/{story.job_id}/report/manifest.jsonl").decode()
    outcomes = [json.loads(line) for line in manifest.splitlines()]
    assert sorted(outcome["key"] for outcome in outcomes) == sorted(EXPECTED)
    failed = {one["key"]: one["reason"] for one in outcomes if one["state"] == "failed"}
    assert failed == {name: EXPECTED[name]["reason"] for name in BAD}


def test_foreign_client_fetches_everything(story: Story, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("uvx")), "--quiet", "--from", AWSCLI, "aws", "s3", "sync"]
    others = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    subprocess.run(
        [*command, "--only-show-errors", "s3://transcripts/2026-11/", str(tmp_path / "copy")],
        env={**others, **story.server.environment},
        check=True,
        timeout=300,
    )
    copied = {path.relative_to(tmp_path / "copy").as_posix(): path for path in (tmp_path / "copy").rglob("*")}
    files = {name: path for name, path in copied.items() if path.is_file()}
    assert files.keys() == story.keys
    for name, path in files.items():
        assert path.read_bytes() == story.read(name), name
