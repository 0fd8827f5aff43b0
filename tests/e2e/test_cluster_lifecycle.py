"""The test cluster starts and stops, twice in a row and after every crash; runs before the session's cluster starts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.errors import ClusterError
from tests.cluster.layout import CGROUP, COMPONENTS, MACHINE_LINK, MOUNT_POINTS, RECORD, Layout
from tests.cluster.lifecycle import fault, start, stop
from tests.cluster.record import Record, read_record, write_record
from tests.e2e.cluster import wait_for
from tests.e2e.conftest import cluster_command

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

_LAYOUT = Layout()
_SETTINGS = [Path("/proc/sys", name) for name in ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")]


@pytest.fixture(scope="module", autouse=True)
def _no_cluster_of_somebody() -> Iterator[None]:
    """These tests end whatever cluster runs, so none may be in use."""
    if os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names a cluster, and these tests start and stop the test cluster")
    if fault(_LAYOUT) is None:
        pytest.skip("the test cluster is in use, and these tests stop it; run them after `make cluster-down`")
    yield
    cluster_command("down")


def test_starts_and_stops_twice_and_leaves_the_machine_as_it_was() -> None:
    before = machine()
    for _ in range(2):
        assert cluster_command("up") == f"export KUBECONFIG={_LAYOUT.kubeconfig}\n"
        first = running()
        assert set(COMPONENTS) <= set(first.children())
        assert machine() != before
        cluster_command("up")
        assert read_record() == first, "a healthy cluster is left alone"
        cluster_command("down")
        assert machine() == before
        cluster_command("down")


def test_lost_components_are_named_and_the_cluster_is_replaced() -> None:
    cluster_command("up")
    first = running()
    for killed in ("kubelet", "containerd", "kube-apiserver"):
        os.kill(first.children()[killed], signal.SIGKILL)
        # A process that was killed dies a moment later, and those before are missed already.
        wait_for(lambda name=killed: name in (fault(_LAYOUT) or ""), 10, f"{killed} to be missed")  # type: ignore[misc]
    cluster_command("up")
    assert fault(_LAYOUT) is None
    assert not first.alive
    assert running() != first


def test_cluster_whose_folder_was_deleted_is_stopped() -> None:
    cluster_command("up")
    processes = [running().pid, *running().children().values()]
    shutil.rmtree(_LAYOUT.root)
    assert fault(_LAYOUT) == f"{_LAYOUT.root} is gone"
    cluster_command("down")
    assert [pid for pid in processes if Path(f"/proc/{pid}").exists()] == []
    assert not RECORD.exists()


def test_starter_killed_half_way_is_no_obstacle() -> None:
    cluster_command("down")
    starter = subprocess.Popen([sys.executable, "-m", "tests.cluster", "up"], stderr=subprocess.DEVNULL)
    wait_for(read_record, 30, "the cluster's first process")
    starter.kill()
    starter.wait()
    orphan = running()
    cluster_command("up")
    assert fault(_LAYOUT) is None
    assert not orphan.alive


def test_process_with_a_recorded_id_and_another_start_time_is_not_killed() -> None:
    cluster_command("down")
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        record = {"pid": bystander.pid, "started": 1, "boot": boot, "root": str(_LAYOUT.root), "folders": []}
        RECORD.write_text(json.dumps(record))
        cluster_command("down")
        assert bystander.poll() is None
        assert not RECORD.exists()
    finally:
        bystander.kill()
        bystander.wait()


def test_cluster_of_another_checkout_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster_command("down")
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        monkeypatch.setattr("tests.cluster.record.own_process", lambda: bystander.pid)
        write_record(tmp_path / ".tools" / "cluster", ())
        for command in (start, stop):
            with pytest.raises(
                ClusterError, match=f"The test cluster of {tmp_path} runs on this machine; stop it there"
            ):
                command(_LAYOUT)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
        RECORD.unlink()


def running() -> Record:
    record = read_record()
    assert record is not None
    assert record.alive
    return record


def machine() -> dict[str, object]:
    """What a cluster could change about the machine beyond its own folder."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return {
        "mounts": [mount for mount in mounts if any(word in mount for word in ("kube", "cni", str(_LAYOUT.root)))],
        "settings": [file.read_text() for file in _SETTINGS],
        "cgroups": sorted(str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{CGROUP}")),
        "link": Path("/sys/class/net", MACHINE_LINK).exists(),
        "routes": subprocess.run(["ip", "route"], check=True, capture_output=True, text=True).stdout,
        "firewall": subprocess.run(["iptables-save"], check=True, capture_output=True, text=True).stdout,
        "folders": [folder for folder in (*MOUNT_POINTS, "/run/netns", "/run/containerd") if Path(folder).exists()],
        "record": RECORD.exists(),
    }
