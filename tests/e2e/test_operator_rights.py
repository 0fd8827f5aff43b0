"""The operator with the rights that the chart gives, and no other: nothing that it does is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.fast_worker import FastJobs, fast_namespace, without_other_operators
from tests.e2e.operating import Operator, install_crd, operator, running
from tests.e2e.rights import kubeconfig_with, rendered, token_of
from transcription_api.names import LABEL_QUEUE_NAME

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@contextmanager
def restricted(
    cluster: Cluster, deleted: list[str], folder: Path, *beside: str, namespaced: bool
) -> Iterator[tuple[FastJobs, Operator, list[dict[str, Any]]]]:
    """An operator that has the chart's rights in a namespace of its own, or with its ClusterRole everywhere.

    `beside` are namespaces that it is told to watch as well, and in which it has none.
    """
    install_crd(cluster)
    without_other_operators(cluster)
    with fast_namespace(cluster, deleted) as jobs:
        watched = [jobs.namespace] if namespaced else []
        objects = rendered(jobs.namespace, *watched)
        cluster.apply(*objects)
        try:
            account = next(one["metadata"]["name"] for one in objects if one["kind"] == "ServiceAccount")
            config = kubeconfig_with(cluster, token_of(cluster, account, jobs.namespace), folder)
            command = (sys.executable, "-m", "tests.e2e.tapped_operator", str(folder / "writes"))
            with running(operator(cluster, folder, *watched, *beside, command=command, KUBECONFIG=str(config))) as one:
                yield jobs, one, objects
        finally:
            for thing in objects:
                if thing["kind"].startswith("Cluster"):
                    cluster.kubectl("delete", thing["kind"], thing["metadata"]["name"], "--ignore-not-found")


def use_every_right(jobs: FastJobs) -> None:
    """Jobs that make the operator do all that it can do."""
    jobs.start("suspended", work="hold", workers={"replicas": 2})
    jobs.start("queued", work="hold", labels={LABEL_QUEUE_NAME: "gpus"})
    jobs.start("expires", ttlSecondsAfterFinished=0)
    jobs.start("no-account", template={"serviceAccountName": "absent"})
    for name in ("suspended", "queued"):
        jobs.await_pod(name, "work")
        jobs.patch(name, {"suspend": True})
        jobs.await_phase(name, "Suspended")
    wait_for(lambda: jobs.child("queued", "work") is None, 60, "the queued Job to be deleted")
    jobs.patch("suspended", {"suspend": False, "workers": {"replicas": 1}})
    jobs.let_go("suspended", "work")
    jobs.await_condition("suspended", "Complete")
    wait_for(lambda: not jobs.left_of("expires"), 60, "the finished job to go")
    wait_for(lambda: jobs.condition("no-account", "Complete").get("reason") == "PodBlocked", 60, "a warning to be read")


def refused(jobs: FastJobs, folder: Path) -> list[str]:
    """Requests in the jobs' namespace. In others that are just going much is refused to anybody."""
    requests = [json.loads(line) for line in (folder / "writes").read_text().splitlines()]
    assert requests
    return [
        f"{one['verb']} {one['path']}"
        for one in requests
        if one["result"] == "Rejected" and jobs.namespace in one["path"]
    ]


@pytest.mark.parametrize("namespaced", [True, False], ids=["one namespace", "whole cluster"])
def test_the_charts_rights_suffice(cluster: Cluster, namespaces: list[str], tmp_path: Path, namespaced: bool) -> None:
    with restricted(cluster, namespaces, tmp_path, namespaced=namespaced) as (jobs, one, objects):
        use_every_right(jobs)
        assert refused(jobs, tmp_path) == []
        assert "forbidden: User" not in one.log.read_text() and "Traceback" not in one.log.read_text()
        if namespaced:  # and what is not granted does show
            role = next(thing for thing in objects if thing["kind"] == "Role")
            for rule in role["rules"]:
                rule["verbs"] = [verb for verb in rule["verbs"] if verb != "create"]
            cluster.apply(role)
            jobs.start("denied")
            wait_for(lambda: refused(jobs, tmp_path), 30, "a refusal to be counted")
            wait_for(lambda: jobs.condition("denied", "Complete").get("reason") == "Refused", 30, "a condition")
            assert "cannot create resource" in jobs.condition("denied", "Complete")["message"]


def test_a_watched_namespace_that_has_gone_costs_the_others_nothing(
    cluster: Cluster, namespaces: list[str], tmp_path: Path
) -> None:
    """Its Role went with it, and a refused watch would end the operator after a minute, at every start anew."""
    with restricted(cluster, namespaces, tmp_path, "has-gone", namespaced=True) as (jobs, one, _):
        jobs.start("calls")
        jobs.await_condition("calls", "Complete")
        (line,) = [line for line in one.lines if "ERROR" in line]
        assert "Namespace has-gone is left out: " in line and "watch.namespaces" in line
        assert "Traceback" not in one.log.read_text()
