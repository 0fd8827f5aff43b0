"""Rights are tried: the operator with every request that the API server serves, workers without a token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.chart.test_chart_access import OPERATOR, Rights
from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.fast_worker import FastJobs, fast_namespace, without_other_operators
from tests.e2e.operating import install_crd, operator, running
from tests.e2e.rights import (
    BATCH,
    CORE,
    FORBIDDEN,
    JOBS,
    Caller,
    Served,
    everything_served,
    rendered,
    token_of,
)
from transcription_api.names import API_VERSION, KIND

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

FINALIZERS = ("transcription-operator.io", "transcriptionjobs/finalizers", "update")
"""Served as nothing: the API server only asks whether one may when an owner is to be kept until its child is gone."""


@dataclass(frozen=True)
class Place:
    """A namespace where jobs are, and another one that belongs to somebody else."""

    jobs: FastJobs
    other: FastJobs
    objects: list[dict[str, Any]]
    operator: Caller
    anybody: Caller


@contextmanager
def granted(cluster: Cluster, deleted: list[str], *, namespaced: bool) -> Iterator[Place]:
    """The chart's account with the chart's rights, in the first namespace or everywhere; no operator runs."""
    install_crd(cluster)
    with fast_namespace(cluster, deleted) as jobs, fast_namespace(cluster, deleted) as other:
        objects = rendered(jobs.namespace, *([jobs.namespace] if namespaced else []))
        cluster.apply(*objects)
        try:
            account = next(one["metadata"]["name"] for one in objects if one["kind"] == "ServiceAccount")
            tokens = [token_of(cluster, name, jobs.namespace) for name in (account, "default")]
            callers = [Caller(cluster, token) for token in tokens]
            wait_for(lambda: callers[0].call("list", JOBS.format(jobs.namespace))[0] == 200, 30, "the rights to hold")
            yield Place(jobs, other, objects, *callers)
        finally:
            for thing in objects:
                if thing["kind"].startswith("Cluster"):
                    cluster.kubectl("delete", thing["kind"], thing["metadata"]["name"], "--ignore-not-found")


def allowed(place: Place, served: list[Served], namespace: str) -> Rights:
    """What the operator may do there and anybody with a token may not; without a namespace in all of them at once."""
    found = set()
    for one in served:
        name = namespace if one.resource.partition("/")[0] == "namespaces" else "nobody"
        if place.operator.may(one, namespace, name) and not place.anybody.may(one, namespace, name):
            found.add(one.right)
    return found


@pytest.mark.parametrize("namespaced", [True, False], ids=["one namespace", "whole cluster"])
def test_of_all_that_is_served_the_operator_may_do_what_its_role_says(
    cluster: Cluster, namespaces: list[str], namespaced: bool
) -> None:
    with granted(cluster, namespaces, namespaced=namespaced) as place:
        served = list(everything_served(cluster))
        print(f"{len(served)} verbs on {len({one.right[:2] for one in served})} resources")
        assert {one.right for one in served} >= OPERATOR - {FINALIZERS}
        assert allowed(place, served, place.jobs.namespace) == OPERATOR - {FINALIZERS}
        in_scope = [one for one in served if one.namespaced and one.verb in ("list", "watch")]
        at_once = {right for right in OPERATOR if right[2] in ("list", "watch")}
        elsewhere = OPERATOR - {FINALIZERS}
        assert allowed(place, in_scope, "") == (set() if namespaced else at_once)
        assert allowed(place, served, place.other.namespace) == (set() if namespaced else elsewhere)
        for path in ("/metrics", "/logs/", "/debug/pprof/", "/configz"):
            assert place.operator.call("get", path)[0] == FORBIDDEN, path


def child(job: dict[str, Any]) -> dict[str, Any]:
    """A batch Job that belongs to a TranscriptionJob and keeps it from going first."""
    meta = job["metadata"]
    owner = {"apiVersion": API_VERSION, "kind": KIND, "name": meta["name"], "uid": meta["uid"]}
    container = {"name": "x", "image": "none"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "child",
            "namespace": meta["namespace"],
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        },
        "spec": {"suspend": True, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }


def test_each_verb_of_the_operator_does_what_it_is_for(cluster: Cluster, namespaces: list[str]) -> None:
    with granted(cluster, namespaces, namespaced=True) as place:
        call, namespace = place.operator.call, place.jobs.namespace
        place.jobs.start("calls")
        mine, batch, core = (path.format(namespace) for path in (JOBS, BATCH, CORE))
        short = "watch=true&timeoutSeconds=1"
        about = {"kind": KIND, "name": "calls", "namespace": namespace}
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "one"},
            "involvedObject": about,
            "reason": "Tried",
            "type": "Normal",
        }
        job = call("get", f"{mine}/calls")[1]
        done = [
            call("list", mine),
            call("watch", f"{mine}?{short}"),
            call("patch", f"{mine}/calls/status", {"status": {"phase": "Pending"}}),
            call("get", f"{mine}/calls/status"),
            call("create", batch, child(job)),
            call("get", f"{batch}/child"),
            call("list", batch),
            call("watch", f"{batch}?{short}"),
            call("patch", f"{batch}/child", {"spec": {"parallelism": 2}}),
            call("delete", f"{batch}/child"),
            call("list", f"{core}/pods"),
            call("watch", f"{core}/pods?{short}"),
            call("create", f"{core}/events", event),
            call("list", f"{core}/events"),
            call("get", core),
            call("delete", f"{mine}/calls"),
        ]
        assert {code for code, _ in done} <= {200, 201}, [answer for answer in done if answer[0] not in (200, 201)]
        assert call("get", f"{core}/pods/nobody")[0] == 404


def test_the_operator_cannot_get_more(cluster: Cluster, namespaces: list[str]) -> None:
    with granted(cluster, namespaces, namespaced=False) as place:
        call, namespace = place.operator.call, place.jobs.namespace
        group = "/apis/rbac.authorization.k8s.io/v1"
        role = next(one for one in place.objects if one["kind"] == "ClusterRole")
        account = next(one for one in place.objects if one["kind"] == "ServiceAccount")["metadata"]
        everything = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
        binding = {
            "metadata": {"name": "more"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": account["name"], "namespace": namespace}],
        }
        bound = f"{group}/clusterrolebindings"
        tried = {
            "escalate": call("patch", f"{group}/clusterroles/{role['metadata']['name']}", {"rules": everything}),
            "bind": call("create", bound, binding),
            "bind here": call("create", f"{group}/namespaces/{namespace}/rolebindings", binding),
            "token": call("create", f"{CORE.format(namespace)}/serviceaccounts/default/token", {}),
            "be admin": call("list", "/api/v1/secrets", **{"Impersonate-User": "admin"}),
            "be a group": call(
                "list", "/api/v1/secrets", **{"Impersonate-User": "x", "Impersonate-Group": "system:masters"}
            ),
        }
        assert {what: code for what, (code, _) in tried.items()} == dict.fromkeys(tried, FORBIDDEN)


def test_no_container_of_a_job_finds_a_token(cluster: Cluster, namespaces: list[str], tmp_path: Path) -> None:
    without_other_operators(cluster)
    with (
        fast_namespace(cluster, namespaces) as jobs,
        running(operator(cluster, tmp_path, jobs.namespace)),
    ):
        jobs.start("calls", plan="hold", work="hold", report="hold")
        for component in ("plan", "work", "report"):
            pod = jobs.await_pod(jobs_name := "calls", component)
            name, place = pod["metadata"]["name"], f"--namespace={jobs.namespace}"
            script = "ls /var/run/secrets /run/secrets; grep -c serviceaccount /proc/mounts; grep -r eyJ /var/run /run"
            seen = cluster.kubectl("exec", name, place, "--", "sh", "-c", script, check=False)
            assert seen.stdout.strip() == "0", seen.stdout
            assert "No such file" in seen.stderr
            assert pod["spec"]["automountServiceAccountToken"] is False
            assert "serviceAccountToken" not in json.dumps(pod["spec"])
            jobs.let_go(jobs_name, component)
        jobs.await_condition("calls", "Complete")
