"""What `helm test` runs, in the operator's image: is this installation able to run TranscriptionJobs?

Without a bucket and a model that is: the operator is ready, the API server refuses a faulty job with the sentence of
the right definition, and the operator takes up a job, a suspended one, which starts nothing. With `tests.job` in the
values a job of the user's is run to its end besides.

Environment: OPERATOR_HOST and OPERATOR_PORT (unset: not asked), NAMESPACE, JOB_SPEC (JSON; `{}`: none),
JOB_TIMEOUT_SECONDS.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kubernetes import client, config

GROUP, VERSION, PLURAL = "transcription-operator.io", "v1alpha1", "transcriptionjobs"
READY_SECONDS = 120
TAKEN_UP_SECONDS = 60

Job = dict[str, Any]


class TestFailure(Exception):
    """The installation cannot do something; the message says what."""


class Jobs:
    """TranscriptionJobs of one namespace."""

    def __init__(self, namespace: str) -> None:
        self._api = client.CustomObjectsApi()
        self._namespace = namespace

    def create(self, spec: Job, *, dry_run: bool = False) -> str:
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "TranscriptionJob",
            "metadata": {"generateName": "helm-test-"},
            "spec": spec,
        }
        options = {"dry_run": "All"} if dry_run else {}
        made = self._api.create_namespaced_custom_object(GROUP, VERSION, self._namespace, PLURAL, body, **options)
        return str(made["metadata"]["name"])

    def status(self, name: str) -> Job:
        job = self._api.get_namespaced_custom_object(GROUP, VERSION, self._namespace, PLURAL, name)
        return dict(job.get("status", {}))

    @contextmanager
    def running(self, spec: Job) -> Iterator[str]:
        """A job that is deleted afterwards, come what may."""
        name = self.create(spec)
        try:
            yield name
        finally:
            self._api.delete_namespaced_custom_object(GROUP, VERSION, self._namespace, PLURAL, name)


def harmless_job(**more: Any) -> Job:
    """A valid spec; its buckets are never asked for anything."""
    return {
        "input": {"uri": "s3://helm-test/recordings/"},
        "output": {"uri": "s3://helm-test/transcripts/"},
        "model": {"name": "nvidia/parakeet-tdt-0.6b-v3"},
        **more,
    }


def wait(what: str, seconds: float, check: Callable[[], object]) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise TestFailure(f"{what} within {seconds:g} seconds")
        time.sleep(1)


def operator_is_ready(url: str) -> None:
    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:  # noqa: S310  the chart writes the URL
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    wait(f"The operator does not answer {url}/readyz with 200", READY_SECONDS, answers)


def faulty_job_is_refused(jobs: Jobs) -> None:
    """Two inputs: only the rules of the definition refuse that, the field types do not."""
    both = {"uri": "s3://helm-test/recordings/", "manifest": "s3://helm-test/list.jsonl"}
    try:
        jobs.create(harmless_job(input=both), dry_run=True)
    except client.ApiException as refusal:
        if refusal.status == 422:
            return
        raise
    raise TestFailure("The API server accepts a TranscriptionJob with two inputs: its definition is not this release's")


def suspended_job_is_taken_up(jobs: Jobs) -> None:
    with jobs.running(harmless_job(suspend=True)) as name:
        wait(
            f"The operator does not report {name} as Suspended",
            TAKEN_UP_SECONDS,
            lambda: jobs.status(name).get("phase") == "Suspended",
        )


def job_completes(jobs: Jobs, spec: Job, seconds: float) -> None:
    with jobs.running(spec) as name:

        def ended() -> bool:
            conditions = {c["type"]: c for c in jobs.status(name).get("conditions", ()) if c["status"] == "True"}
            if failed := conditions.get("Failed"):
                raise TestFailure(f"{name} failed, {failed['reason']}: {failed.get('message', '')}")
            return "Complete" in conditions

        wait(f"{name} is not Complete", seconds, ended)
        print(json.dumps(jobs.status(name).get("progress", {}), indent=2))


def sentence(error: client.ApiException) -> str:
    """What the API server says, without the headers of its answer."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"


def failed(name: str, why: str) -> int:
    print(f"FAILED:  {name}: {why}", file=sys.stderr)
    return 1


def main() -> int:
    config.load_incluster_config()
    jobs = Jobs(os.environ["NAMESPACE"])
    spec = json.loads(os.environ["JOB_SPEC"])
    seconds = float(os.environ["JOB_TIMEOUT_SECONDS"])
    host = os.environ.get("OPERATOR_HOST", "")
    url = f"http://{f'[{host}]' if ':' in host else host}:{os.environ.get('OPERATOR_PORT')}"
    steps: list[tuple[str, Callable[[], None]]] = [
        ("the operator is ready", lambda: operator_is_ready(url)),
        ("a faulty job is refused", lambda: faulty_job_is_refused(jobs)),
        ("a suspended job is taken up", lambda: suspended_job_is_taken_up(jobs)),
        ("the job of tests.job completes", lambda: job_completes(jobs, spec, seconds)),
    ]
    wanted = [bool(host), True, True, bool(spec)]
    for (name, step), want in zip(steps, wanted, strict=True):
        if not want:
            print(f"skipped: {name}")
            continue
        try:
            step()
        except TestFailure as error:
            return failed(name, str(error))
        except client.ApiException as error:
            return failed(name, sentence(error))
        print(f"passed:  {name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
