"""A user who may make TranscriptionJobs in one namespace, and wants more: nothing beyond what Jobs there would give."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.fast_worker import FastJobs, fast_namespace, without_other_operators
from tests.e2e.operating import install_crd, operator, running
from tests.e2e.rights import BATCH, CORE, FORBIDDEN, JOBS, Caller, kubeconfig_with, rendered, token_of
from transcription_api.names import LABEL_COMPONENT, LABEL_JOB

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@dataclass(frozen=True)
class Author:
    """Somebody who may create, change and delete TranscriptionJobs in one namespace, and somebody who may make Jobs."""

    jobs: FastJobs
    other: FastJobs
    caller: Caller
    maker_of_jobs: Caller

    def create(self, name: str, *, strict: bool = True, **fields: Any) -> tuple[int, dict[str, Any]]:
        how = "Strict" if strict else "Ignore"
        path = JOBS.format(self.jobs.namespace)
        return self.caller.call("create", f"{path}?fieldValidation={how}", self.jobs.fast(name, **fields))

    def template_of(self, name: str, component: str) -> dict[str, Any]:
        """The pod's spec that the operator made of it."""
        found = wait_for(lambda: self.jobs.child(name, component), 60, f"{component} of {name}")
        return dict(found["spec"]["template"]["spec"])


VERBS = ["create", "patch", "get", "list", "delete"]


def may(name: str, group: str, resource: str, namespace: str) -> list[dict[str, Any]]:
    """A ServiceAccount with these verbs on one resource of its namespace."""
    meta = {"name": name, "namespace": namespace}
    rbac = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "Role",
            "metadata": meta,
            "rules": [{"apiGroups": [group], "resources": [resource], "verbs": VERBS}],
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        },
    ]


@contextmanager
def author(cluster: Cluster, deleted: list[str], folder: Path, level: str) -> Iterator[Author]:
    """A namespace of this Pod Security level with an operator that has the chart's rights there and in another one."""
    install_crd(cluster)
    without_other_operators(cluster)
    with fast_namespace(cluster, deleted, level) as jobs, fast_namespace(cluster, deleted) as other:
        namespace = jobs.namespace
        objects = rendered(other.namespace, namespace, other.namespace)
        cluster.apply(
            *objects,
            *may("author", "transcription-operator.io", "transcriptionjobs", namespace),
            *may("maker", "batch", "jobs", namespace),
        )
        account = next(one["metadata"]["name"] for one in objects if one["kind"] == "ServiceAccount")
        config = kubeconfig_with(cluster, token_of(cluster, account, other.namespace), folder)
        callers = [Caller(cluster, token_of(cluster, name, namespace)) for name in ("author", "maker")]
        with running(operator(cluster, folder, namespace, other.namespace, KUBECONFIG=str(config))):
            yield Author(jobs, other, *callers)


def test_who_may_make_transcription_jobs_may_do_nothing_else(
    cluster: Cluster, namespaces: list[str], tmp_path: Path
) -> None:
    with author(cluster, namespaces, tmp_path, "restricted") as one:
        call, here, there = one.caller.call, one.jobs.namespace, one.other.namespace
        assert one.create("calls", plan="hold")[0] == 201
        pod = one.jobs.await_pod("calls", "plan")["metadata"]["name"]
        core = CORE.format(here)
        tried = {
            "a Job": call("create", BATCH.format(here), {}),
            "a pod": call("create", f"{core}/pods", {}),
            "into the pod": call("create", f"{core}/pods/{pod}/exec?command=sh"),
            "the pod's log": call("get", f"{core}/pods/{pod}/log"),
            "secrets": call("list", f"{core}/secrets"),
            "the status": call("patch", f"{JOBS.format(here)}/calls/status", {"status": {"phase": "Succeeded"}}),
            "a job elsewhere": call("create", JOBS.format(there), one.other.fast("calls")),
            "jobs elsewhere": call("list", JOBS.format(there)),
            "the operator's token": call("create", f"{CORE.format(there)}/serviceaccounts/default/token", {}),
        }
        assert {what: code for what, (code, _) in tried.items()} == dict.fromkeys(tried, FORBIDDEN)


POWERS: dict[str, Any] = {
    "hostNetwork": True,
    "hostPID": True,
    "hostIPC": True,
    "automountServiceAccountToken": True,
    "shareProcessNamespace": True,
    "nodeName": "node",
    "containers": [{"name": "own", "image": "own", "securityContext": {"privileged": True}}],
    "initContainers": [{"name": "own", "image": "own"}],
    "hostUsers": True,
}
"""Fields of core/v1 PodSpec that a job has no field for."""


def test_a_pod_gets_no_power_that_a_job_has_no_field_for(
    cluster: Cluster, namespaces: list[str], tmp_path: Path
) -> None:
    with author(cluster, namespaces, tmp_path, "restricted") as one:
        code, answer = one.create("calls", template=POWERS)
        assert code == 400 and all(f'"spec.workers.template.spec.{field}"' in answer["message"] for field in POWERS)
        assert one.create("calls", strict=False, template=POWERS, plan="hold")[0] == 201, "dropped, as everywhere"
        spec = one.template_of("calls", "plan")
        assert spec.pop("automountServiceAccountToken") is False
        assert not set(spec) & (POWERS.keys() - {"containers"})
        assert [container["name"] for container in spec["containers"]] == ["plan"]
        context = spec["containers"][0]["securityContext"]
        assert (context["allowPrivilegeEscalation"], context["capabilities"]) == (False, {"drop": ["ALL"]})
        for elsewhere in (f"{one.other.namespace}/s3", f"../{one.other.namespace}"):
            code, _ = one.create("secret", storage={"credentialsSecret": {"name": elsewhere}})
            assert code == 422, elsewhere
        moved = one.jobs.fast("moved")
        moved["metadata"]["namespace"] = one.other.namespace
        assert one.caller.call("create", JOBS.format(one.jobs.namespace), moved)[0] == 400
        assert not one.other.children(), "nothing of it reaches another namespace"


STRONG: dict[str, Any] = {
    "securityContext": {"runAsUser": 0, "runAsNonRoot": False, "seccompProfile": {"type": "Unconfined"}},
    "serviceAccountName": "maker",
    "volumes": [
        {"name": "fast", "configMap": {"name": "fast-worker", "defaultMode": 0o555}},
        {"name": "node", "hostPath": {"path": "/"}},
        {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
    ],
}
"""What a job can ask for and a namespace of the level `restricted` refuses, and a ServiceAccount's token."""


def test_pod_security_stops_the_pods_of_a_job_as_it_stops_others(
    cluster: Cluster, namespaces: list[str], tmp_path: Path
) -> None:
    with author(cluster, namespaces, tmp_path, "restricted") as one:
        assert one.create("strong", template=STRONG)[0] == 201
        scratch = {"scratch": {"volume": {"hostPath": {"path": "/etc"}}}}
        assert one.create("scratch", workers=scratch)[0] == 201
        said = wait_for(
            lambda: (
                "violates PodSecurity" in (told := one.jobs.condition("strong", "Complete").get("message", "")) and told
            ),
            60,
            "a condition that says why",
        )
        assert "hostPath" in said and "runAsNonRoot" in said
        one.jobs.await_phase("scratch", "Running")  # the plan needs no scratch of the node
        wait_for(
            lambda: "violates PodSecurity" in one.jobs.condition("scratch", "Complete").get("message", ""),
            60,
            "a condition that says why",
        )
        assert not one.jobs.pods("strong", "plan") and not one.jobs.pods("scratch", "work")


def test_where_pod_security_is_off_a_job_gives_what_a_batch_job_gives(
    cluster: Cluster, namespaces: list[str], tmp_path: Path
) -> None:
    """The same pods can be had by whoever may make Jobs there, in a dry run; and not by whom may make neither."""
    with author(cluster, namespaces, tmp_path, "privileged") as one:
        scratch = {"scratch": {"volume": {"hostPath": {"path": str(tmp_path / "scratch")}}}}
        assert one.create("strong", template=STRONG, workers=scratch)[0] == 201
        path = f"{BATCH.format(one.jobs.namespace)}?dryRun=All"
        for component in ("plan", "work"):
            made = wait_for(lambda step=component: one.jobs.child("strong", step), 90, component)  # type: ignore[misc]
            template = made["spec"]["template"]
            template["metadata"] = {}
            meta = {"generateName": "same-"}
            same = {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"template": template}}
            assert one.maker_of_jobs.call("create", path, same)[0] == 201
            assert one.caller.call("create", path, same)[0] == FORBIDDEN


def test_a_job_of_the_same_name_takes_nobody_elses_jobs(
    cluster: Cluster, namespaces: list[str], tmp_path: Path
) -> None:
    with author(cluster, namespaces, tmp_path, "restricted") as one:
        jobs = one.jobs
        shape = {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "x", "image": "none"}]}}}
        foreign: list[dict[str, Any]] = [
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {
                    "name": f"calls-{component}",
                    "labels": {LABEL_JOB: "calls", LABEL_COMPONENT: component},
                },
                "spec": {"suspend": True, **shape},
            }
            for component in ("plan", "work", "report")
        ]
        jobs.apply_all(foreign)

        def state() -> list[tuple[str, dict[str, Any]]]:
            found = [cluster.get("job", job["metadata"]["name"], jobs.namespace) for job in foreign]
            return [(job["metadata"]["uid"], job["spec"]) for job in found if job]

        before = state()
        assert len(before) == 3
        assert one.create("calls", ttlSecondsAfterFinished=0)[0] == 201
        mine = f"{JOBS.format(jobs.namespace)}/calls"
        wait_for(lambda: jobs.condition("calls", "Complete").get("reason") == "Refused", 60, "the collision to be told")
        for change in ({"suspend": True}, {"suspend": False}, {"workers": {"replicas": 5}}):
            assert one.caller.call("patch", mine, {"spec": change})[0] == 200
            generation = jobs.get("calls")["metadata"]["generation"]
            wait_for(
                lambda wanted=generation: jobs.status("calls").get("observedGeneration") == wanted,  # type: ignore[misc]
                60,
                "the change to be seen",
            )
        assert one.caller.call("delete", mine)[0] == 200
        wait_for(lambda: cluster.get("transcriptionjob", "calls", jobs.namespace) is None, 60, "the job to go")
        assert state() == before
