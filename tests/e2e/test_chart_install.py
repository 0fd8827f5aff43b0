"""The chart on a real cluster: the operator as a pod of its own image, its rights, upgrade, test and uninstall."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.operating import Jobs, install_crd
from tests.e2e.release import RELEASE, Release
from tests.e2e.scene import stage
from tests.jobs import EXAMPLES, TINY_CTC
from tests.s3server import S3Server

pytestmark = [pytest.mark.cluster, pytest.mark.s3, pytest.mark.slow]


@pytest.fixture
def release(cluster: Cluster, namespace: str, operator_image: str) -> Iterator[Release]:
    one = Release(cluster, namespace, operator_image)
    try:
        yield one
    finally:
        one.uninstall()
        install_crd(cluster)


def suspended(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "transcription-operator.io/v1alpha1",
        "kind": "TranscriptionJob",
        "metadata": {"name": name},
        "spec": {
            "suspend": True,
            "input": {"uri": "s3://none/in/"},
            "output": {"uri": "s3://none/out/"},
            "model": {"name": "nvidia/parakeet-tdt-0.6b-v3"},
        },
    }


def phase(cluster: Cluster, namespace: str, name: str) -> str:
    found = cluster.get("transcriptionjob", name, namespace) or {}
    return str(found.get("status", {}).get("phase", ""))


@pytest.mark.model
def test_helm_test_runs_a_tiny_job_to_its_end(
    cluster: Cluster, release: Release, s3: S3Server, bucket: str, tmp_path: Path
) -> None:
    jobs = Jobs(cluster, release.namespace, s3)
    jobs.secret()
    s3.client().put_object(Bucket=bucket, Key="tiny.nemo", Body=TINY_CTC.read_bytes())
    s3.client().put_object(Bucket=bucket, Key="in/score.caf", Body=(EXAMPLES / "audio" / "score.caf").read_bytes())
    job = jobs.manifest(
        "unused", source=f"s3://{bucket}/in/", output=f"s3://{bucket}/out/", model=f"s3://{bucket}/tiny.nemo"
    )
    values = tmp_path / "values.json"
    values.write_text(json.dumps({"tests": {"job": job["spec"], "jobTimeoutSeconds": 300}}))
    notes = release.install(values=values)
    example = re.search(r"<<JOB\n(.*?)\n *JOB\n", notes, re.DOTALL)
    assert example is not None, notes
    cluster.kubectl(
        "create", "--dry-run=server", "--filename=-", input=textwrap.dedent(example[1]).replace("BUCKET", "calls")
    )
    done = release.helm("test", RELEASE, "--logs", "--timeout=8m")
    assert done.stdout.count("passed:") == 4, done.stdout
    keys = {item["Key"] for item in s3.client().list_objects_v2(Bucket=bucket, Prefix="out/score")["Contents"]}
    assert "out/score.caf.json" in keys
    assert "Traceback" not in release.log()


def test_watching_its_own_namespace_needs_no_right_beyond_it(cluster: Cluster, release: Release) -> None:
    release.install_watching_itself()
    account = f"system:serviceaccount:{release.namespace}:{RELEASE}-transcription-operator"
    for question, answer in (
        ((f"--namespace={release.namespace}", "create", "jobs.batch"), "yes"),
        ((f"--namespace={release.namespace}", "get", "secrets"), "no"),
        (("--namespace=default", "list", "transcriptionjobs"), "no"),
        (("list", "namespaces"), "no"),
    ):
        asked = cluster.kubectl("auth", "can-i", f"--as={account}", *question, check=False)
        assert asked.stdout.strip() == answer, question
    cluster.apply(suspended("waiting"), namespace=release.namespace)
    wait_for(lambda: phase(cluster, release.namespace, "waiting") == "Suspended", 60, "the job to be taken up")
    done = release.helm("test", RELEASE, "--logs")
    assert done.stdout.count("passed:") == 3, done.stdout
    assert release.refused_requests() == []
    first, *_ = release.log().splitlines()
    assert re.match(r"\S+ \S+ INFO transcription_operator\S+: transcription-operator \S+ watches", first), first
    assert f"the namespaces {release.namespace};" in first
    assert "orbidden" not in release.log()


def test_upgrade_restarts_the_operator_and_nothing_else(cluster: Cluster, release: Release) -> None:
    release.install_watching_itself()
    cluster.apply(suspended("before"), namespace=release.namespace)
    wait_for(lambda: phase(cluster, release.namespace, "before") == "Suspended", 60, "the job to be taken up")
    before = cluster.get("transcriptionjob", "before", release.namespace)
    release.install_watching_itself("logFormat=json", "podLabels.upgraded=yes")
    cluster.apply(suspended("after"), namespace=release.namespace)
    wait_for(lambda: phase(cluster, release.namespace, "after") == "Suspended", 60, "the job to be taken up")
    assert cluster.get("transcriptionjob", "before", release.namespace) == before
    assert all(line.startswith("{") for line in release.log().splitlines())


@pytest.mark.model
def test_running_workers_outlive_an_upgrade_and_the_release_itself(
    cluster: Cluster, release: Release, s3: S3Server
) -> None:
    output = f"upgraded-{release.namespace}"
    with stage(cluster, release.namespace, s3, lets=5) as here:
        release.install_watching_itself()
        here.apply("calls", output)
        worker = here.await_worker("calls")
        before = here.await_middle(output)

        def undisturbed_worker() -> bool:
            (pod,) = here.jobs.pods("calls", "work")
            (status,) = pod["status"]["containerStatuses"]
            same = pod["metadata"]["uid"] == worker["metadata"]["uid"] and "deletionTimestamp" not in pod["metadata"]
            return same and "running" in status["state"] and status["restartCount"] == 0

        release.install_watching_itself("worker.graceSeconds=45", "podLabels.upgraded=yes")
        events = here.jobs.events("calls")
        assert undisturbed_worker()
        assert here.jobs.status("calls")["phase"] == "Running"

        release.uninstall()
        assert undisturbed_worker()
        here.gate.open()
        wait_for(lambda: len(here.corpus.committed(output)) == len(here.corpus.names), 180, "the work to be done")
        assert here.jobs.status("calls")["phase"] == "Running", "somebody else watches this namespace"

        release.install_watching_itself()
        outcomes = here.finish("calls", output)
        assert {outcome["state"] for outcome in outcomes} == {"done"}
        after = here.corpus.committed(output)
        assert {recording: after[recording] for recording in before} == before
        assert here.jobs.events("calls")[: len(events)] == events, "something was begun anew"
        assert {name.rpartition("/")[2] for name in here.jobs.children() if name.startswith("job")} == {
            "calls-plan",
            "calls-work",
            "calls-report",
        }


def test_uninstall_keeps_definition_and_jobs_and_nothing_else(cluster: Cluster, release: Release) -> None:
    release.install_watching_itself()
    cluster.apply(suspended("kept"), namespace=release.namespace)
    release.uninstall()
    assert cluster.get("transcriptionjob", "kept", release.namespace) is not None
    owned = "all,serviceaccounts,roles,rolebindings,configmaps,secrets,networkpolicies,poddisruptionbudgets"
    selector = f"--selector=app.kubernetes.io/instance={RELEASE}"
    place = f"--namespace={release.namespace}"
    wait_for(lambda: not cluster.kubectl("get", owned, selector, place, "-oname").stdout, 60, "its objects to go")
    left = cluster.kubectl("get", "clusterroles,clusterrolebindings", selector, "-oname").stdout.split()
    assert not [name for name in left if release.namespace in name]


def test_a_server_takes_every_manifest_of_the_chart(cluster: Cluster, release: Release) -> None:
    """Server-side validation of kinds that a plain cluster has, with all that can be switched on."""
    release.install_watching_itself(
        "networkPolicy.enabled=true",
        f"networkPolicy.workerNamespaces[0]={release.namespace}",
        "podDisruptionBudget.enabled=true",
        "metrics.dashboard.enabled=true",
    )
    found = cluster.kubectl(
        "get", "networkpolicies,poddisruptionbudgets,configmaps", f"--namespace={release.namespace}", "-oname"
    )
    names = [name.partition(".")[0].partition("/")[0] for name in found.stdout.split() if f"/{RELEASE}-" in name]
    assert sorted(names) == ["configmap", "configmap", "networkpolicy", "networkpolicy", "poddisruptionbudget"]
