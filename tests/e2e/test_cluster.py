"""The test cluster keeps what `tests/cluster` promises: pods run, are confined, get counted GPUs, and reach S3."""

from __future__ import annotations

import json
import signal
from importlib.metadata import version
from os import kill
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.lifecycle import load_image
from tests.cluster.oci import Entry, write_image
from tests.e2e.cluster import RESTRICTED, Cluster, KubectlError, wait_for, worker_environment_volumes
from tests.s3server import S3Server

pytestmark = pytest.mark.cluster


def pod(name: str, image: str, *command: str, **container: Any) -> dict[str, Any]:
    """A pod of one container that satisfies the level `restricted`; `container` adds to or replaces its fields."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "name": "main",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": list(command),
                    "securityContext": RESTRICTED,
                    **container,
                }
            ],
        },
    }


def run(cluster: Cluster, namespace: str, manifest: dict[str, Any], timeout: float = 60) -> str:
    """Run the pod to its end and return what it wrote; it has to succeed."""
    name = manifest["metadata"]["name"]
    cluster.apply(manifest, namespace=namespace)

    def ended() -> str | None:
        phase = (cluster.get("pod", name, namespace) or {})["status"]["phase"]
        return phase if phase in ("Succeeded", "Failed") else None

    phase = wait_for(ended, timeout, f"the end of pod {name}")
    log = cluster.kubectl("logs", name, f"--namespace={namespace}").stdout
    assert phase == "Succeeded", log
    return log


def test_pod_runs_as_a_user_and_its_log_can_be_read(cluster: Cluster, namespace: str) -> None:
    assert run(cluster, namespace, pod("hello", cluster.busybox_image, "id", "-u")) == "65532\n"


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ({"securityContext": {**RESTRICTED, "runAsNonRoot": False}}, "runAsNonRoot"),
        ({"securityContext": {**RESTRICTED, "allowPrivilegeEscalation": True}}, "allowPrivilegeEscalation"),
        ({"securityContext": {**RESTRICTED, "capabilities": {}}}, "unrestricted capabilities"),
    ],
    ids=["root", "privilege escalation", "capabilities"],
)
def test_restricted_is_enforced(cluster: Cluster, namespace: str, fault: dict[str, Any], word: str) -> None:
    with pytest.raises(KubectlError, match=rf'violates PodSecurity "restricted:latest".*{word}'):
        cluster.apply(pod("bad", cluster.busybox_image, "true", **fault), namespace=namespace)


def test_hostpath_volume_is_refused(cluster: Cluster, namespace: str) -> None:
    manifest = pod("bad", cluster.busybox_image, "true")
    manifest["spec"]["volumes"] = [{"name": "usr", "hostPath": {"path": "/usr"}}]
    with pytest.raises(KubectlError, match="restricted volume types"):
        cluster.apply(manifest, namespace=namespace)


def test_gpus_are_counted(cluster: Cluster, namespace: str) -> None:
    if not cluster.own:
        pytest.skip("only the test cluster's node is known to have two GPUs")
    for name, count in (("fits", 2), ("waits", 1)):
        limits = {"limits": {"nvidia.com/gpu": count}}
        cluster.apply(pod(name, cluster.busybox_image, "sleep", "1000", resources=limits), namespace=namespace)
        if name == "fits":
            cluster.kubectl("wait", "--for=condition=Ready", "pod/fits", f"--namespace={namespace}", "--timeout=60s")

    def refusal() -> str | None:
        conditions = (cluster.get("pod", "waits", namespace) or {})["status"].get("conditions", [])
        return next((one["message"] for one in conditions if one.get("reason") == "Unschedulable"), None)

    assert "Insufficient nvidia.com/gpu" in wait_for(refusal, 30, "the scheduler's refusal")
    cluster.kubectl("delete", "pod", "fits", f"--namespace={namespace}")
    cluster.kubectl("wait", "--for=condition=Ready", "pod/waits", f"--namespace={namespace}", "--timeout=60s")


def test_pod_reaches_s3_on_this_machine(cluster: Cluster, namespace: str, s3: S3Server, bucket: str) -> None:
    s3.client().put_object(Bucket=bucket, Key="greeting", Body=b"hello from the bucket")
    anyone = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    s3.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [anyone]}))
    url = f"{s3.endpoint}/{bucket}/greeting"
    said = run(cluster, namespace, pod("reader", cluster.busybox_image, "wget", "-q", "-O", "-", url))
    assert said == "hello from the bucket"


def test_pods_reach_one_another_through_a_service(cluster: Cluster, namespace: str) -> None:
    page = "mkdir /tmp/www && echo served > /tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www"
    mounts = [{"name": "tmp", "mountPath": "/tmp"}]
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    server = pod("web", cluster.busybox_image, "sh", "-c", page, volumeMounts=mounts, readinessProbe=probe)
    server["spec"]["volumes"] = [{"name": "tmp", "emptyDir": {}}]
    server["metadata"]["labels"] = {"app": "web"}
    service = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": service}
    cluster.apply(server, manifest, namespace=namespace)
    cluster.kubectl("wait", "--for=condition=Ready", "pod/web", f"--namespace={namespace}", "--timeout=60s")
    address = (cluster.get("service", "web", namespace) or {})["spec"]["clusterIP"]
    fetch = (
        f"until wget -q -O - http://{address}; do sleep 0.2; done"  # the proxy learns of the endpoint a moment later
    )
    assert run(cluster, namespace, pod("client", cluster.busybox_image, "sh", "-c", fetch)) == "served\n"


@pytest.mark.parametrize("program", ["transcription-worker", "transcription-operator"])
def test_checkout_runs_under_restricted(cluster: Cluster, namespace: str, worker_image: str, program: str) -> None:
    environment = worker_environment_volumes(cluster, namespace)
    command = f"{program} --version && ! touch /usr/x 2>/dev/null && ! touch /x 2>/dev/null && id -u"
    mounts = list(environment.volume_mounts)
    manifest = pod("worker", worker_image, "sh", "-c", command, env=list(environment.env), volumeMounts=mounts)
    manifest["spec"]["volumes"] = list(environment.volumes)
    assert run(cluster, namespace, manifest, timeout=120) == f"{program} {version('transcription-operator')}\n65532\n"


def test_image_from_a_file_runs(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    if not cluster.own:
        pytest.skip("images are loaded into the test cluster only")
    reference = f"registry.local/loaded:{namespace}"
    program = Path("/usr/bin/busybox").read_bytes()
    write_image(tmp_path / "image.tar", reference, [Entry("bin"), Entry("bin/echo", program)], command=["/bin/echo"])
    load_image(tmp_path / "image.tar")
    assert run(cluster, namespace, pod("loaded", reference, "/bin/echo", "loaded")) == "loaded\n"


def test_first_process_of_a_container_can_be_killed_from_this_machine(cluster: Cluster, namespace: str) -> None:
    if not cluster.own:
        pytest.skip("the processes of another cluster's pods cannot be seen from here")
    cluster.apply(pod("victim", cluster.busybox_image, "sh", "-c", "sleep 1000; true"), namespace=namespace)
    cluster.kubectl("wait", "--for=condition=Ready", "pod/victim", f"--namespace={namespace}", "--timeout=60s")
    kill(cluster.container_processes(namespace, "victim", "main")[0], signal.SIGKILL)

    def end() -> dict[str, Any]:
        state = (cluster.get("pod", "victim", namespace) or {})["status"]["containerStatuses"][0]["state"]
        return dict(state.get("terminated", {}))

    assert wait_for(end, 30, "the end of the container")["exitCode"] == 128 + signal.SIGKILL
