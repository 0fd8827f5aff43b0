"""The cluster's control group, the parent of all pods: its own, so that it can be removed without a look at others'."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.errors import ClusterError
from tests.cluster.layout import CGROUP

_ROOT = Path("/sys/fs/cgroup")
_REMOVE_SECONDS = 20.0


def make_cgroups() -> None:
    """Make the group in every hierarchy: one in version 2, one for each controller in version 1.

    Raises:
        ClusterError: the file system is read-only, as in a container without privileges.
    """
    try:
        for hierarchy in _hierarchies():
            group = hierarchy / CGROUP
            group.mkdir(exist_ok=True)
            if (hierarchy / "cgroup.subtree_control").exists():
                _delegate(hierarchy)
                _delegate(group)
            for name in ("cpuset.cpus", "cpuset.mems"):
                if hierarchy.name.startswith("cpuset"):  # version 1 starts with none, and then nothing can run in it
                    (group / name).write_text((hierarchy / name).read_text())
    except OSError as error:
        raise ClusterError(
            f"Control groups cannot be made in {_ROOT} ({error.strerror}); run the test cluster on a machine of its "
            "own or in a privileged container."
        ) from error


def remove_cgroups() -> None:
    """Remove the group with all that is below it, once its processes are dead.

    Raises:
        ClusterError: a process lives on in it.
    """
    deadline = time.monotonic() + _REMOVE_SECONDS
    while groups := [group for hierarchy in _hierarchies() if (group := hierarchy / CGROUP).exists()]:
        for group in groups:
            for folder, _, _ in os.walk(group, topdown=False):
                try:
                    Path(folder).rmdir()
                except OSError:  # the kernel takes a dead process out of its group a moment after its death
                    if time.monotonic() > deadline:
                        raise ClusterError(f"The control group {folder} still has processes; end them.") from None
        time.sleep(0.05)


def _hierarchies() -> Iterator[Path]:
    if (_ROOT / "cgroup.controllers").exists():
        yield _ROOT
        return
    seen = set()
    for folder in sorted(_ROOT.iterdir()):
        if folder.name != "unified" and (folder / "cgroup.procs").exists() and folder.resolve() not in seen:
            seen.add(folder.resolve())  # `cpu` and `cpu,cpuacct` may be two names of one
            yield folder


def _delegate(group: Path) -> None:
    controllers = (group / "cgroup.controllers").read_text().split()
    for controller in controllers:
        (group / "cgroup.subtree_control").write_text(f"+{controller}")
