"""How long until the first worker runs: a TranscriptionJob against plain Jobs with the very same pods."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import Any

from kubernetes import client

from tests.e2e.fast_worker import FastJobs
from transcription_api.job import TranscriptionJob
from transcription_api.names import API_VERSION, GROUP, LABEL_JOB, PLURAL, VERSION, Component
from transcription_operator.builders import build_plan_job, build_work_job
from transcription_operator.config import Config

_POLL_SECONDS = 0.03
_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds of one round, each until the main container of a work pod runs.

    Attributes:
        alone: from the creation of a plain Job with the work pod.
        by_hand: from the creation of a plain Job with the plan pod; the other one follows as soon as it is Complete.
        ours: from the creation of a TranscriptionJob.
    """

    alone: float
    by_hand: float
    ours: float


class StartBench:
    """Rounds in one namespace with a running operator."""

    def __init__(self, api: client.ApiClient, jobs: FastJobs, config: Config) -> None:
        self._core, self._batch, self._custom = (
            client.CoreV1Api(api),
            client.BatchV1Api(api),
            client.CustomObjectsApi(api),
        )
        self._jobs, self._config = jobs, config

    def round(self, number: int) -> Start:
        """The three contenders one after the other, begun with another one in each round."""
        turns = [self._alone, self._by_hand, self._ours]
        order = [(number + turn) % 3 for turn in range(3)]
        taken = {which: turns[which](number) for which in order}
        return Start(*(taken[which] for which in range(3)))

    def _alone(self, number: int) -> float:
        work = self._plain(number, Component.WORK)
        begun = self._create(work)
        taken = self._until_running(_selector(work)) - begun
        self._delete(work)
        return taken

    def _by_hand(self, number: int) -> float:
        plan, work = (self._plain(number, component) for component in (Component.PLAN, Component.WORK))
        begun = self._create(plan)
        self._until(lambda: self._is_complete(plan))
        self._create(work)
        taken = self._until_running(_selector(work)) - begun
        self._delete(plan)
        self._delete(work)
        return taken

    def _ours(self, number: int) -> float:
        name = f"ours-{number}"
        manifest = self._jobs.fast(name, work="hold")
        begun = time.monotonic()
        self._custom.create_namespaced_custom_object(GROUP, VERSION, self._jobs.namespace, PLURAL, manifest)
        taken = self._until_running(f"{LABEL_JOB}={name},job-name={name}-work") - begun
        self._jobs.let_go(name, "work")
        self._jobs.await_condition(name, "Complete")
        return taken

    def _plain(self, number: int, component: Component) -> dict[str, Any]:
        """The Job that the operator would make, without an owner and without the label by which it knows its own."""
        manifest = self._jobs.fast(f"plain-{number}", work="hold")
        metadata = {**manifest["metadata"], "uid": "00000000-0000-0000-0000-000000000000"}
        job = TranscriptionJob.model_validate({**manifest, "apiVersion": API_VERSION, "metadata": metadata})
        build = build_plan_job if component is Component.PLAN else build_work_job
        body = copy.deepcopy(build(job, self._config))
        del body["metadata"]["ownerReferences"]
        for meta in (body["metadata"], body["spec"]["template"]["metadata"]):
            del meta["labels"][LABEL_JOB]
        return body

    def _create(self, body: dict[str, Any]) -> float:
        begun = time.monotonic()
        self._batch.create_namespaced_job(self._jobs.namespace, body)
        return begun

    def _delete(self, body: dict[str, Any]) -> None:
        """And wait until its pods are gone, so that no round works beside the last one's end."""
        name = body["metadata"]["name"]
        self._batch.delete_namespaced_job(name, self._jobs.namespace, propagation_policy="Foreground")
        self._until(
            lambda: not self._core.list_namespaced_pod(self._jobs.namespace, label_selector=f"job-name={name}").items
        )

    def _is_complete(self, body: dict[str, Any]) -> bool:
        job = self._batch.read_namespaced_job_status(body["metadata"]["name"], self._jobs.namespace)
        return any(one.type == "Complete" and one.status == "True" for one in job.status.conditions or ())

    def _until_running(self, selector: str) -> float:
        def running() -> bool:
            pods = self._core.list_namespaced_pod(self._jobs.namespace, label_selector=selector).items
            statuses = [status for pod in pods for status in pod.status.container_statuses or ()]
            return any(status.state.running is not None for status in statuses)

        return self._until(running)

    def _until(self, holds: Any) -> float:
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while not holds():
            if time.monotonic() > deadline:
                raise SystemExit("The cluster did not get on within two minutes: is it busy with something else?")
            time.sleep(_POLL_SECONDS)
        return time.monotonic()


def _selector(job: dict[str, Any]) -> str:
    return f"job-name={job['metadata']['name']}"
