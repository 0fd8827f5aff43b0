"""Observation: facts of Jobs and pods as the API server of Kubernetes 1.34 writes them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from transcription_api.names import LABEL_COMPONENT, LABEL_JOB, LABEL_QUEUE_NAME, Component
from transcription_operator.observe import observe_child, observe_pod, parse_time
from transcription_operator.observed import Outcome


def body(status=None, spec=None, *, component="work", **meta):
    return {
        "metadata": {
            "name": "calls-work",
            "namespace": "team",
            "uid": "u1",
            "resourceVersion": "42",
            "creationTimestamp": "2026-03-01T12:00:00Z",
            "labels": {LABEL_JOB: "calls", LABEL_COMPONENT: component},
            "ownerReferences": [{"uid": "stranger"}, {"uid": "owner", "controller": True}],
            **meta,
        },
        "spec": spec or {},
        "status": status or {},
    }


def condition(kind, status="True", **fields):
    return {"type": kind, "status": status, "lastTransitionTime": "2026-03-01T12:05:00Z", **fields}


def state(**states):
    return {"name": "work", "image": "example.com/worker:1", "state": states}


def test_a_running_job():
    child = observe_child(body({"active": 2, "ready": 1, "succeeded": 1, "failedIndexes": "1,3-5"}, {"parallelism": 8}))
    assert (child.component, child.version, child.owner_uid) == (Component.WORK, 42, "owner")
    assert (child.parallelism, child.active, child.ready, child.succeeded, child.failed) == (8, 2, 1, 1, 4)
    assert child.outcome is None and not child.suspended and not child.queued and not child.deleting
    assert child.created == datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("conditions", "outcome", "reason"),
    [
        ([condition("SuccessCriteriaMet"), condition("Complete")], Outcome.COMPLETE, ""),
        ([condition("FailureTarget", reason="PodFailurePolicy")], None, ""),
        (
            [condition("FailureTarget"), condition("Failed", reason="PodFailurePolicy")],
            Outcome.FAILED,
            "PodFailurePolicy",
        ),
        ([condition("Complete", "False")], None, ""),
        ([condition("Suspended")], None, ""),
    ],
)
def test_how_a_job_ended(conditions, outcome, reason):
    """FailureTarget says that it will fail: its pods still run (KEP-3939)."""
    child = observe_child(body({"conditions": conditions}))
    assert (child.outcome, child.reason) == (outcome, reason)


def test_a_queued_suspended_job():
    labels = {LABEL_JOB: "calls", LABEL_COMPONENT: "work", LABEL_QUEUE_NAME: "gpus"}
    child = observe_child(body(spec={"suspend": True}, labels=labels))
    assert child.queued and child.suspended


@pytest.mark.parametrize("change", [{"labels": {}}, {"ownerReferences": []}, {"labels": {LABEL_COMPONENT: "else"}}])
def test_what_is_no_child_of_a_job(change):
    assert observe_child(body(**change)) is None
    assert observe_pod(body(**change)) is None


def test_a_running_worker():
    pod = observe_pod(
        body(
            {"phase": "Running", "podIP": "10.0.0.7", "conditions": [condition("Ready")]},
            annotations={"batch.kubernetes.io/job-completion-index": "3"},
        )
    )
    assert (pod.index, pod.ip, pod.ready, pod.blocked, pod.ended) == (3, "10.0.0.7", True, "", None)


@pytest.mark.parametrize("written", ["2026-03-01T12:00:00Z", "2026-03-01t12:00:00z", "2026-03-01T13:00:00.000+01:00"])
def test_every_time_that_the_api_server_takes_can_be_read(written):
    """A person who may write a status may write it in any form of RFC 3339."""
    assert parse_time(written) == datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("written", ["abc", "-1", "1.5", "", "\u0663", "9" * 5000])
def test_an_index_that_the_template_wrote_costs_nobody_his_pod(written):
    """Kubernetes writes the annotation on the pods of an Indexed Job alone; plan and report keep the template's."""
    pod = observe_pod(body(component="report", annotations={"batch.kubernetes.io/job-completion-index": written}))
    assert pod is not None and pod.index is None


def test_of_a_failed_pod_the_container_that_failed_speaks():
    ended = {
        "exitCode": 78,
        "reason": "Error",
        "message": "The model is too large.",
        "finishedAt": "2026-03-01T12:05:00Z",
    }
    status = {
        "phase": "Failed",
        "initContainerStatuses": [{"name": "sweep", "state": {"terminated": ended}}],
        "containerStatuses": [state(waiting={"reason": "PodInitializing"})],
    }
    pod = observe_pod(body(status))
    assert (pod.ended.container, pod.ended.exit_code, pod.ended.message) == ("sweep", 78, "The model is too large.")
    assert pod.ended.reason == "Error"


def test_of_a_succeeded_pod_the_main_container_speaks():
    done = {"exitCode": 0, "finishedAt": "2026-03-01T12:05:00Z"}
    status = {
        "phase": "Succeeded",
        "initContainerStatuses": [{"name": "sweep", "state": {"terminated": {**done, "message": "swept"}}}],
        "containerStatuses": [state(terminated={**done, "message": "{}"})],
    }
    assert observe_pod(body(status)).ended.message == "{}"


def test_sidecars_do_not_speak_for_the_pod():
    """A service mesh's and a secret agent's container end as they like, before ours in the list and after it."""
    mesh = {"name": "a-mesh", "state": {"terminated": {"exitCode": 143, "message": ""}}}
    agent = {"name": "vault", "state": {"terminated": {"exitCode": 0, "message": "bye"}}}
    for code, phase in ((0, "Succeeded"), (78, "Failed")):
        main = {"name": "work", "state": {"terminated": {"exitCode": code, "message": "said"}}}
        status = {"phase": phase, "initContainerStatuses": [mesh], "containerStatuses": [mesh, main, agent]}
        ended = observe_pod(body(status)).ended
        assert (ended.container, ended.exit_code, ended.message) == ("work", code, "said")


def test_a_sidecar_that_failed_a_pod_is_named_when_ours_did_not():
    agent = {"name": "vault", "state": {"terminated": {"exitCode": 1, "message": "no token"}}}
    main = {"name": "work", "state": {"terminated": {"exitCode": 0, "message": ""}}}
    assert observe_pod(body({"phase": "Failed", "containerStatuses": [main, agent]})).ended.container == "vault"


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (
            {"conditions": [condition("PodScheduled", "False", reason="Unschedulable", message="no GPU")]},
            "Pod calls-work waits for a node: no GPU",
        ),
        (
            {"containerStatuses": [state(waiting={"reason": "ErrImagePull", "message": "try 1"})]},
            "Pod calls-work: image example.com/worker:1 cannot be pulled; check its name and imagePullSecrets.",
        ),
        (
            {
                "initContainerStatuses": [
                    state(waiting={"reason": "CreateContainerConfigError", "message": "no secret"})
                ]
            },
            "Pod calls-work cannot start (CreateContainerConfigError): no secret",
        ),
        ({"containerStatuses": [state(waiting={"reason": "ContainerCreating"})]}, ""),
        ({"conditions": [condition("PodScheduled", "False", reason="SchedulingGated")]}, ""),
    ],
)
def test_what_is_in_a_pods_way(status, sentence):
    assert observe_pod(body({"phase": "Pending", **status})).blocked == sentence


def test_a_blocked_image_reads_the_same_in_every_attempt():
    """The kubelet changes between the two every few seconds: no status is written for that."""
    statuses = (state(waiting={"reason": reason, "message": reason}) for reason in ("ErrImagePull", "ImagePullBackOff"))
    pods = [observe_pod(body({"phase": "Pending", "containerStatuses": [status]})) for status in statuses]
    assert pods[0].blocked == pods[1].blocked != ""
