"""The chart on a real cluster: the operator as a pod of its own image, its rights, upgrade, test and uninstall."""

from __future__ import annotations

import json
import os
import re
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.build_images import BuildError, archive, build, image_name
from tests.chart.helm import CHART, require
from tests.cluster.lifecycle import load_image
from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.conftest import refuse
from tests.e2e.operating import Jobs, install_crd
from tests.e2e.scene import stage
from tests.jobs import EXAMPLES, TINY_CTC
from tests.s3server import S3Server

pytestmark = [pytest.mark.cluster, pytest.mark.s3, pytest.mark.slow]

RELEASE = "speech"
DEPLOYMENT = f"deployment/{RELEASE}-transcription-operator"


def image_settings(key: str, image: str) -> tuple[str, str]:
    repository, _, tag = image.rpartition(":")
    return f"{key}.repository={repository}", f"{key}.tag={tag}"


@dataclass(frozen=True)
class Release:
    """One release of the chart, in a namespace of its own in which its jobs run too."""

    cluster: Cluster
    namespace: str
    image: str

    def helm(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        place = (f"--namespace={self.namespace}", f"--kubeconfig={self.cluster.kubeconfig}")
        done = subprocess.run([str(require("helm")), *arguments, *place], capture_output=True, text=True, timeout=900)
        assert not check or done.returncode == 0, f"helm {arguments[0]}: {done.stdout}{done.stderr}"
        return done

    def install(self, *settings: str, values: Path | None = None) -> str:
        """Install or upgrade, and wait until the operator is ready; what helm prints."""
        images = [*image_settings("image", self.image), *image_settings("worker.image", self.cluster.worker_image)]
        done = self.helm(
            "upgrade",
            "--install",
            RELEASE,
            str(CHART),
            "--take-ownership",  # of the definition, which other tests leave behind
            "--wait",
            "--timeout=3m",
            *([f"--values={values}"] if values else []),
            *(f"--set-string={setting}" for setting in images),
            *(f"--set={setting}" for setting in ("watch.resyncSeconds=2", *settings)),
        )
        return done.stdout

    def install_watching_itself(self, *settings: str) -> str:
        """Jobs in other namespaces are left alone."""
        return self.install(f"watch.namespaces[0]={self.namespace}", *settings)

    def uninstall(self) -> None:
        self.helm("uninstall", RELEASE, "--wait", "--timeout=2m", "--ignore-not-found")

    def log(self) -> str:
        return self.cluster.kubectl("logs", DEPLOYMENT, f"--namespace={self.namespace}").stdout

    def metrics(self) -> str:
        """What the operator's Service gives, read as an administrator would: through the API server."""
        service = f"{RELEASE}-transcription-operator:http"
        path = f"/api/v1/namespaces/{self.namespace}/services/{service}/proxy/metrics"
        return self.cluster.kubectl("get", "--raw", path).stdout

    def refused_requests(self) -> list[str]:
        """Also what is refused in other namespaces, such as one that is being deleted, where those are watched."""
        pattern = r'^transcription_operator_api_requests_total\{[^}]*code="40[13]".*$'
        return re.findall(pattern, self.metrics(), re.MULTILINE)


@pytest.fixture(scope="module")
def operator_image(cluster: Cluster) -> str:
    """The project's own image, in the cluster."""
    if named := os.environ.get("E2E_OPERATOR_IMAGE"):
        return named
    if not cluster.own:
        refuse("This cluster has no image of the operator: set E2E_OPERATOR_IMAGE to one that its nodes can pull.")
    try:
        build("operator")
    except BuildError as error:
        refuse(str(error))
    load_image(archive("operator"))
    return image_name("operator")


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
