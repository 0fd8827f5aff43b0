"""Faults that no schema can see: a condition and an event say what is missing, and the job goes on once it is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.fast_worker import FastJobs, operated
from tests.e2e.operating import Operator
from tests.e2e.watching import watching
from transcription_api.names import LABEL_QUEUE_NAME

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

ABSENT = "registry.local/absent:1"
LONGEST = "n" * 47


@pytest.fixture(scope="module")
def operating(
    cluster: Cluster, namespaces: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[FastJobs, Operator, Path]]:
    with operated(cluster, namespaces, tmp_path_factory.mktemp("operator")) as operating:
        yield operating


@pytest.fixture(scope="module")
def jobs(operating: tuple[FastJobs, Operator, Path]) -> FastJobs:
    return operating[0]


@dataclass(frozen=True)
class Fault:
    """What a spec names and nobody has made, what the condition says, and the object that mends it."""

    spec: dict[str, Any]
    says: str
    mend: dict[str, Any] | None = None


def named(kind: str, version: str = "v1", **fields: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "absent"}, **fields}


CREDENTIALS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
FAULTS = {
    "secret": Fault(
        {"storage": {"credentialsSecret": {"name": "absent"}}},
        'secret "absent" not found',
        named("Secret", stringData=CREDENTIALS),
    ),
    "bundle": Fault(
        {"storage": {"caBundle": {"configMapName": "absent", "key": "ca.crt"}}},
        'configmap "absent" not found',
        named("ConfigMap", data={"ca.crt": "-----BEGIN CERTIFICATE-----"}),
    ),
    "account": Fault(
        {"template": {"serviceAccountName": "absent"}}, 'serviceaccount "absent" not found', named("ServiceAccount")
    ),
    "cache": Fault({"workers": {"cache": {"claimName": "absent"}}}, 'persistentvolumeclaim "absent" not found'),
    "scratch": Fault(
        {"workers": {"scratch": {"volume": {"persistentVolumeClaim": {"claimName": "absent"}}}}},
        'persistentvolumeclaim "absent" not found',
    ),
    "model": Fault(
        {"model": {"volume": {"claimName": "absent", "path": "x.nemo"}}}, 'persistentvolumeclaim "absent" not found'
    ),
    "priority": Fault({"template": {"priorityClassName": "absent"}}, "no PriorityClass with name absent was found"),
    "image": Fault({"workers": {"image": ABSENT}}, f"image {ABSENT} cannot be pulled"),
    "node": Fault({"template": {"nodeSelector": {"rack": "absent"}}}, "didn't match Pod's node affinity/selector"),
}


@pytest.fixture(scope="module")
def blocked(jobs: FastJobs) -> FastJobs:
    """All faults at once. What has been mended is looked at last: some of it shows only after a while."""
    jobs.apply_all(jobs.fast(name, **fault.spec) for name, fault in FAULTS.items())
    return jobs


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_missing_is_said_and_goes_on_once_it_is_there(blocked: FastJobs, name: str) -> None:
    jobs, fault = blocked, FAULTS[name]

    def says() -> bool:
        complete = jobs.condition(name, "Complete")
        return complete.get("reason") == "PodBlocked" and fault.says in complete["message"]

    wait_for(says, 90, f"{name} to say {fault.says!r}")
    told = [message for reason, message in jobs.events(name) if reason == "PodBlocked"]
    assert len(told) == 1 and fault.says in told[0]
    assert jobs.status(name)["phase"] in ("Pending", "Running")
    if fault.mend is None:
        jobs.delete(name)
        wait_for(lambda: not jobs.left_of(name), 40, f"{name} to go")
    else:
        jobs.apply(fault.mend)


def test_a_job_that_the_api_server_does_not_take_waits_for_its_quota(
    cluster: Cluster, namespaces: list[str], tmp_path: Path
) -> None:
    with operated(cluster, namespaces, tmp_path) as (jobs, _, _):
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "jobs"}}
        jobs.apply({**quota, "spec": {"hard": {"count/jobs.batch": "0"}}})
        wait_for(lambda: (cluster.get("resourcequota", "jobs", jobs.namespace) or {}).get("status"), 60, "the quota")
        jobs.start("refused")
        wait_for(lambda: jobs.condition("refused", "Complete").get("reason") == "Refused", 60, "a refusal")
        assert "exceeded quota: jobs" in jobs.condition("refused", "Complete")["message"]
        jobs.apply({**quota, "spec": {"hard": {"count/jobs.batch": "9"}}})
        jobs.await_condition("refused", "Complete")
        assert [reason for reason, _ in jobs.events("refused")].count("Refused") == 1
        jobs.apply({**quota, "spec": {"hard": {"count/jobs.batch": "9", "pods": "0"}}})
        jobs.start("blocked")
        wait_for(lambda: jobs.condition("blocked", "Complete").get("reason") == "PodBlocked", 60, "a blocked pod")
        assert "exceeded quota: jobs" in jobs.condition("blocked", "Complete")["message"]


def test_a_template_that_collides_with_the_operators_own_is_a_fault_of_configuration(jobs: FastJobs) -> None:
    mine = {"volumes": [{"name": "scratch", "emptyDir": {}}], "volumeMounts": []}
    jobs.start("collides", template=mine)
    status = jobs.await_condition("collides", "Failed", timeout=60)
    failed = next(one for one in status["conditions"] if one["type"] == "Failed")
    assert failed["reason"] == "Configuration"
    assert 'Duplicate value: "scratch"' in failed["message"]


def test_a_foreign_job_of_a_childs_name_is_left_alone(cluster: Cluster, jobs: FastJobs) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "x", "image": cluster.busybox_image}]}
    foreign = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "mistaken-plan"},
        "spec": {"suspend": True, "template": {"spec": pod}},
    }
    jobs.apply(foreign)
    before = jobs.child("mistaken", "plan")
    jobs.start("mistaken")
    wait_for(lambda: jobs.condition("mistaken", "Complete").get("reason") == "Refused", 60, "a refusal")
    assert "A Job mistaken-plan that belongs to something else" in jobs.condition("mistaken", "Complete")["message"]
    assert jobs.child("mistaken", "plan") == before
    cluster.kubectl("delete", "job", "mistaken-plan", f"--namespace={jobs.namespace}")
    jobs.await_condition("mistaken", "Complete")


def test_the_longest_name_works_and_a_longer_one_is_refused(cluster: Cluster, jobs: FastJobs) -> None:
    jobs.start(LONGEST, workers={"replicas": 2})
    done = cluster.kubectl("apply", "--filename=-", input=json.dumps(jobs.fast(LONGEST + "n")), check=False)
    assert done.returncode != 0 and "47" in done.stderr
    jobs.await_condition(LONGEST, "Complete")


def test_a_job_applied_again_at_once_waits_for_what_its_predecessor_left(jobs: FastJobs) -> None:
    jobs.start("again", work="hold")
    jobs.await_pod("again", "work")
    jobs.delete("again")
    wait_for(lambda: jobs.cluster.get("transcriptionjob", "again", jobs.namespace) is None, 40, "it to go")
    jobs.start("again")
    status = jobs.await_condition("again", "Complete")
    assert status["progress"]["summary"] == "10/10"
    assert "Refused" not in [reason for reason, _ in jobs.events("again")]


def test_suspend_of_a_queued_job_is_the_queues_alone(
    cluster: Cluster, operating: tuple[FastJobs, Operator, Path]
) -> None:
    """A queue by hand: what Kueue does with the Jobs that bear its label."""
    jobs, _, writes = operating

    def queue(suspend: bool) -> None:
        place = (f"--namespace={jobs.namespace}", "--type=merge", "--field-manager=queue")
        cluster.kubectl("patch", "job", "queued-work", *place, f"--patch={json.dumps({'spec': {'suspend': suspend}})}")

    labels = {LABEL_QUEUE_NAME: "gpus"}
    with watching(cluster, "jobs", jobs.namespace) as history:
        jobs.start("queued", work="hold", labels=labels)
        wait_for(lambda: jobs.child("queued", "work"), 60, "the work Job")
        queue(True)
        jobs.await_phase("queued", "Suspended")
        assert jobs.condition("queued", "Suspended")["reason"] == "SuspendedByQueue"
        assert LABEL_QUEUE_NAME not in (jobs.child("queued", "plan") or {})["metadata"]["labels"]
        queue(False)
        jobs.await_phase("queued", "Running")
        first = (jobs.child("queued", "work") or {})["metadata"]["uid"]
        # Suspended by its owner: the Job is given back to the queue whole, and asked for anew.
        jobs.patch("queued", {"suspend": True})
        wait_for(lambda: jobs.child("queued", "work") is None, 60, "the work Job to go")
        jobs.await_phase("queued", "Suspended")
        jobs.patch("queued", {"suspend": False})
        wait_for(lambda: jobs.child("queued", "work"), 60, "another work Job")
        jobs.let_go("queued", "work")
        jobs.await_condition("queued", "Complete")
        assert len(history.uids["queued-work"]) == 2 and first in history.uids["queued-work"]
    for job in history.of("queued-work"):
        for fields in job["metadata"]["managedFields"]:
            if "f:suspend" in fields["fieldsV1"].get("f:spec", {}) and fields["manager"] != "queue":
                assert fields["operation"] == "Update" and not job["spec"]["suspend"], "a default, never set"
    for line in writes.read_text().splitlines():
        write = json.loads(line)
        if write["path"].endswith(("/jobs/queued-work", "/jobs")) and "queued-work" in line:
            assert "suspend" not in write["body"].get("spec", {})


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.mend])
def test_what_was_missing_is_found(blocked: FastJobs, name: str) -> None:
    blocked.await_condition(name, "Complete", timeout=200)
