"""Start, stop and look at the test cluster, from outside it. One cluster per machine; commands wait for one another.

Whatever state the machine is in, `start` ends with a healthy cluster and `stop` with none: a cluster that was killed
half-way, that lost a component or its folder is first ended by the record of its first process.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.build import build
from tests.cluster.cgroups import make_cgroups, remove_cgroups
from tests.cluster.components import write_config
from tests.cluster.errors import ClusterError
from tests.cluster.images import write_images
from tests.cluster.layout import BIN, COMPONENTS, GPUS, LOCK, NODE_NAME, RECORD, REPOSITORY, Layout
from tests.cluster.machine import (
    join_networks,
    part_networks,
    remove_files,
    remove_mount_points,
    require_free_networks,
    require_machine,
)
from tests.cluster.pki import write_pki
from tests.cluster.record import Record, read_record

_START_SECONDS = 120.0
_SPACES = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "slave")


def start(layout: Layout) -> None:
    """Start the cluster unless it runs and is healthy.

    Raises:
        ClusterError: it cannot run here, or did not become ready within two minutes; then nothing of it runs.
    """
    require_machine()
    with _alone():
        record = read_record()
        if record is not None and record.alive:
            fault = _fault(record, layout)
            if fault is None:
                _say("the test cluster already runs")
                return
            _require_own(record, layout)
            _say(f"the test cluster runs but is not healthy: {fault}; it is replaced")
        _stop(record, layout)
        require_free_networks()
        build()
        began = time.monotonic()
        try:
            _start(layout)
        except BaseException:
            _stop(read_record(), layout)
            raise
        _say(f"the test cluster is ready after {time.monotonic() - began:.0f} s")


def stop(layout: Layout) -> None:
    """End the cluster and leave nothing of it but its logs. It is no error when none runs.

    Raises:
        ClusterError: the cluster that runs is another checkout's, or could not be ended.
    """
    require_machine()
    with _alone():
        record = read_record()
        if record is not None and record.alive:
            _require_own(record, layout)
        _stop(record, layout)
    _say("the test cluster is down")


def fault(layout: Layout) -> str | None:
    """Why the cluster of `layout` is not healthy, None when it is."""
    record = read_record()
    return "it does not run" if record is None or not record.alive else _fault(record, layout)


def load_image(archive: Path) -> None:
    """Import an image, a docker or OCI archive, into the running cluster.

    Raises:
        ClusterError: no cluster runs, or the archive is no image.
    """
    record = read_record()
    if record is None or not record.alive:
        raise ClusterError("No test cluster runs to load an image into; start it with `make cluster-up`.")
    inside = ["nsenter", f"--target={record.pid}", "--mount", "--net", "--pid"]
    command = [*inside, "ctr", "--namespace", "k8s.io", "images", "import", str(archive.absolute())]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise ClusterError(f"{archive} could not be imported: {done.stderr.strip()}")


def _start(layout: Layout) -> None:
    remove_files(layout.logs)
    for folder in (layout.logs, layout.disk, layout.config):
        folder.mkdir(parents=True)
    write_pki(layout)
    write_images(layout.images)
    write_config(layout)
    make_cgroups()
    with (layout.logs / "node.log").open("wb") as log:
        node = subprocess.Popen(
            ["unshare", *_SPACES, sys.executable, "-m", "tests.cluster.node", str(layout.root)],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def wait_for(condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not condition():
            if node.poll() is not None or time.monotonic() > deadline:
                said = (layout.logs / "node.log").read_text().strip().splitlines()
                raise ClusterError(f"The test cluster did not start; it waited for {what}. {said[-1] if said else ''}")
            time.sleep(0.1)

    wait_for(lambda: (record := read_record()) is not None and record.alive, "its first process")
    record = read_record()
    assert record is not None
    join_networks(record.pid)
    wait_for(lambda: _node_state(layout)[0] == "True", "the node")
    wait_for(lambda: _kubectl(layout, "get", "serviceaccount", "default") is not None, "the default service account")
    count = {"nvidia.com/gpu": str(GPUS)}
    patch = json.dumps({"status": {"capacity": count, "allocatable": count}})
    _kubectl(layout, "patch", "node", NODE_NAME, "--subresource=status", "--type=merge", f"--patch={patch}")


def _stop(record: Record | None, layout: Layout) -> None:
    if record is not None:
        record.kill()
        remove_mount_points(record.folders)
        if Path(record.root) != layout.root:
            remove_files(Path(record.root))
    part_networks()
    remove_cgroups()
    if layout.root.exists():
        for folder in layout.root.iterdir():
            if folder != layout.logs:  # the next start removes them
                remove_files(folder)
    RECORD.unlink(missing_ok=True)


def _fault(record: Record, layout: Layout) -> str | None:
    if Path(record.root) != layout.root:
        return f"it belongs to {record.root}"
    if not layout.kubeconfig.exists():
        return f"{layout.root} is gone"
    running = record.children()
    dead = [component for component in COMPONENTS if component not in running]
    if dead:
        return f"{', '.join(dead)} not running"
    ready, gpus = _node_state(layout)
    if ready != "True":
        return f"{NODE_NAME} is not ready"
    return None if gpus == str(GPUS) else f"{NODE_NAME} has no GPUs"  # the last that a start does


def _require_own(record: Record, layout: Layout) -> None:
    """A cluster whose checkout is gone belongs to whoever asks."""
    other = Path(record.root)
    if other != layout.root and other.parents[1].exists():
        raise ClusterError(f"The test cluster of {other.parents[1]} runs on this machine; stop it there first.")


def _node_state(layout: Layout) -> tuple[str, str]:
    """The status of its condition Ready, and how many GPUs the scheduler may give away; both "" when unknown."""
    fields = r'{.status.conditions[?(@.type=="Ready")].status} {.status.allocatable.nvidia\.com/gpu}'
    ready, _, gpus = (_kubectl(layout, "get", "node", NODE_NAME, f"--output=jsonpath={fields}") or "").partition(" ")
    return ready, gpus


def _kubectl(layout: Layout, *arguments: str) -> str | None:
    command = [str(BIN / "kubectl"), f"--kubeconfig={layout.kubeconfig}", "--request-timeout=5s", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else None


@contextmanager
def _alone() -> Iterator[None]:
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
