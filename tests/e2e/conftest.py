"""Fixtures of the end-to-end tests: a cluster for the session, a namespace for each test, S3 that pods reach."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.build_images import BuildError, archive, build, image_name
from tests.cluster.environment import volume_selector
from tests.cluster.firewall import enforced_policies
from tests.cluster.layout import Layout
from tests.cluster.lifecycle import fault, load_image
from tests.conftest import require_server
from tests.e2e.cluster import Cluster, KubectlError, connect
from tests.s3server import S3Server, run_server

_HERE = Path(__file__).parent
_DELETE_SECONDS = 120
_FAILED = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests that start and stop clusters come first: later the session's cluster runs."""
    items.sort(key=lambda item: item.path != _HERE / "test_cluster_lifecycle.py" if _HERE in item.path.parents else -1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed  # type: ignore[attr-defined]
    return report


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """$KUBECONFIG's cluster; without that the test cluster, stopped at the end if it did not run before."""
    if kubeconfig := os.environ.get("KUBECONFIG"):
        try:
            given = connect(Path(kubeconfig))
        except KubectlError as error:
            pytest.fail(f"The cluster of KUBECONFIG={kubeconfig} does not answer. {error}", pytrace=False)
        yield given
        return
    layout = Layout()
    ran_before = fault(layout) is None
    cluster_command("up")
    try:
        yield connect(layout.kubeconfig)
    finally:
        if not ran_before:
            cluster_command("down")


@pytest.fixture
def kubectl(cluster: Cluster) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`kubectl(*arguments, input=None, check=True)`."""
    return cluster.kubectl


@pytest.fixture(scope="session")
def namespaces(cluster: Cluster) -> Iterator[list[str]]:
    """The namespaces that tests have deleted: the last of each is waited for at the end of the session.

    A controller waits five seconds before it empties a namespace; a hundred tests need not wait a hundred times.
    """
    deleted: list[str] = []
    yield deleted
    for name in deleted:
        cluster.kubectl("wait", "--for=delete", f"namespace/{name}", f"--timeout={_DELETE_SECONDS}s", timeout=300)
        cluster.kubectl("delete", "persistentvolume", f"--selector={volume_selector(name)}")


@pytest.fixture
def namespace(cluster: Cluster, namespaces: list[str], request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh namespace that enforces the level `restricted`; no pod of it is left when the test is over."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    try:
        yield name
    finally:
        if request.node.stash.get(_FAILED, False):
            _show(cluster, name)
        # first the namespace: from then on nothing can be made in it, by no controller
        cluster.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")
        namespaces.append(name)
        # a Job keeps its failed pods until their successors are made (docs/operator.md), and none can be any more
        cluster.kubectl("delete", "jobs", "--all", f"--namespace={name}", "--wait=false")
        cluster.kubectl("delete", "pods", "--all", f"--namespace={name}", f"--timeout={_DELETE_SECONDS}s", timeout=300)


@pytest.fixture(scope="session")
def s3(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server at an address that both pods and tests reach. `bucket` makes a bucket in it."""
    require_server()
    if not cluster.machine_address or cluster.machine_address.startswith("127."):
        refuse("Pods cannot reach an S3 server on this machine: set E2E_MACHINE_ADDRESS to an address that they reach.")
    with run_server(tmp_path_factory.mktemp("s3"), address=cluster.machine_address) as server:
        yield server


@pytest.fixture
def worker_image(cluster: Cluster) -> str:
    """An image in which `transcription-worker` runs, given `worker_environment_volumes`."""
    if not cluster.worker_image:
        refuse("This cluster has no image of the worker: set E2E_WORKER_IMAGE to one that its nodes can pull.")
    return cluster.worker_image


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="module")
def policies(cluster: Cluster) -> Iterator[None]:
    """NetworkPolicies hold for the tests of this module."""
    if cluster.own:
        with enforced_policies(Layout()):
            yield
        return
    if not os.environ.get("E2E_POLICIES_HOLD"):
        refuse("Whether this cluster's network plugin enforces NetworkPolicy cannot be seen: set E2E_POLICIES_HOLD=1.")
    yield


def cluster_command(command: str) -> str:
    """`python -m tests.cluster COMMAND` and what it printed; without a cluster the test is skipped, or fails in CI."""
    done = subprocess.run([sys.executable, "-m", "tests.cluster", command], capture_output=True, text=True)
    if done.returncode != 0:
        refuse(f"{done.stderr.strip()} (python -m tests.cluster {command})")
    return done.stdout


def refuse(why: str) -> None:
    """Skip the test, but never where the test cluster must run: in CI as root on Linux."""
    if os.environ.get("CI") == "true" and sys.platform == "linux" and os.geteuid() == 0:
        pytest.fail(why)
    pytest.skip(why)


def _show(cluster: Cluster, namespace: str) -> None:
    """What a failed test leaves in its namespace, for the reader of the report."""
    pods = cluster.kubectl("get", "pods", "--output=name", f"--namespace={namespace}", check=False).stdout.split()
    for arguments in (
        ("get", "all", "--output=wide"),
        ("get", "events", "--sort-by=.lastTimestamp"),
        *(("logs", pod, "--all-containers", "--prefix", "--tail=40") for pod in pods),
    ):
        done = cluster.kubectl(*arguments, f"--namespace={namespace}", check=False)
        print(f"--- kubectl {' '.join(arguments)}\n{done.stdout}{done.stderr}")
