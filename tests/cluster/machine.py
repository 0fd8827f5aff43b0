"""What the cluster needs of this machine: may it run here, the link into its network, and no trace once it is gone."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.cluster.errors import ClusterError
from tests.cluster.layout import (
    LINK_NETWORK,
    MACHINE_ADDRESS,
    MACHINE_LINK,
    NODE_ADDRESS,
    NODE_LINK,
    POD_NETWORK,
    REPOSITORY,
    SERVICE_NETWORK,
)

_NETWORKS = (LINK_NETWORK, POD_NETWORK, SERVICE_NETWORK)
_PROGRAMS = ("busybox", "containerd", "ctr", "ip", "ipset", "iptables", "openssl", "runc", "setpriv", "unshare")
_PLUGIN = "/usr/lib/cni/ptp"


def require_machine() -> None:
    """Install what is missing.

    Raises:
        ClusterError: the cluster cannot run on this machine.
    """
    if sys.platform != "linux":
        raise ClusterError("The test cluster needs Linux; elsewhere set KUBECONFIG to a cluster that runs already.")
    if os.geteuid() != 0:
        raise ClusterError("The test cluster needs root; without it set KUBECONFIG to a cluster that runs already.")
    if _missing_programs():
        subprocess.run([REPOSITORY / "scripts" / "system-packages.sh", "cluster"], check=False)
    if missing := _missing_programs():
        raise ClusterError(f"The test cluster needs {', '.join(missing)}; install what has {missing[0]}.")
    spaces = ["--net", "--mount", "--pid", "--fork"]
    if subprocess.run(["unshare", *spaces, "true"], capture_output=True).returncode != 0:
        raise ClusterError(
            "This machine allows no namespaces; run the test cluster on a machine of its own or in a privileged "
            "container."
        )


def require_free_networks() -> None:
    """Raises ClusterError when an address of the cluster already belongs to something else."""
    for route in json.loads(_ip("-json", "route", "show", "table", "all")):
        if route.get("dev") == MACHINE_LINK or route["dst"] == "default":
            continue
        network = ipaddress.ip_network(route["dst"], strict=False)
        for own in _NETWORKS:
            if network.version == 4 and network.overlaps(ipaddress.ip_network(own)):
                owner = f"{route['dst']} on {route.get('dev', 'this machine')}"
                raise ClusterError(
                    f"The test cluster needs {own}, which overlaps {owner}; stop what uses that network."
                )


def join_networks(pid: int) -> None:
    """A pair of links between this machine and the network namespace of process `pid`, and routes to pods and services.

    The link goes when the namespace does.
    """
    prefix = LINK_NETWORK.partition("/")[2]
    _ip("link", "add", MACHINE_LINK, "type", "veth", "peer", "name", NODE_LINK, "netns", str(pid))
    _ip("address", "add", f"{MACHINE_ADDRESS}/{prefix}", "dev", MACHINE_LINK)
    _ip("link", "set", MACHINE_LINK, "up")
    for network in (POD_NETWORK, SERVICE_NETWORK):
        _ip("route", "add", network, "via", NODE_ADDRESS, "dev", MACHINE_LINK)


def part_networks() -> None:
    """Remove the link now: the kernel does it too, but takes its time over a namespace that is no longer used."""
    link = Path("/sys/class/net", MACHINE_LINK)
    while link.exists():
        try:
            _ip("link", "delete", MACHINE_LINK)
        except ClusterError:
            if link.exists():  # the kernel was no quicker: something else is wrong
                raise


def remove_mount_points(folders: tuple[str, ...]) -> None:
    """Remove the folders that the cluster made, as far as they are still empty."""
    for folder in folders:
        try:
            Path(folder).rmdir()
        except OSError:  # gone, or in use by something that came later
            continue


def remove_files(root: Path) -> None:
    """Remove a cluster's folder.

    Raises:
        ClusterError: something is mounted below it, which would be deleted as well.
    """
    for line in Path("/proc/self/mounts").read_text().splitlines():
        point = line.split()[1]
        if Path(point).is_relative_to(root):
            raise ClusterError(f"{point} is a mount point and would be emptied; unmount it first.")
    if root.exists():
        shutil.rmtree(root)


def _missing_programs() -> list[str]:
    return [program for program in (*_PROGRAMS, _PLUGIN) if shutil.which(program) is None]


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise ClusterError(f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return done.stdout
