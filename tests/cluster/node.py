"""The first process of the node: `python -m tests.cluster.node ROOT`, started by `lifecycle.py` through unshare(1).

It records itself, arranges its mount and network namespaces, starts the components in the order in which they need one
another, and then only collects dead processes, as a first process must. By itself it restarts nothing: a component that
a test killed stays dead, and the next `up` sees that. SIGHUP asks it to kill the API server and start another.

Nothing that it does reaches the machine outside, but for the empty folders that serve as mount points and the control
group: mounts do not propagate out, and the kernel settings that a kubelet would write are files bound over the real
ones.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.cluster import components
from tests.cluster.layout import (
    API_PORT,
    CONTAINERD_SOCKET,
    LINK_NETWORK,
    MOUNT_POINTS,
    NODE_ADDRESS,
    NODE_LINK,
    Layout,
)
from tests.cluster.record import write_record

_KUBELET_SETTINGS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}
_START_SECONDS = 60.0


class Node:
    """The running components, by program name."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, command: list[str]) -> None:
        name = Path(command[0]).name
        with (self._layout.logs / f"{name}.log").open("wb") as log:
            self._started[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def restart(self, command: list[str]) -> None:
        """kill -9, and another one as soon as it is gone."""
        process = self._started[Path(command[0]).name]
        process.kill()
        process.wait()
        self.start(command)

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Raises SystemExit when a component died meanwhile, or after a minute."""
        deadline = time.monotonic() + _START_SECONDS
        while not condition():
            dead = [name for name, process in self._started.items() if process.poll() is not None]
            if dead:
                raise SystemExit(f"{dead[0]} ended while the node waited for {what}; see {dead[0]}.log")
            if time.monotonic() > deadline:
                raise SystemExit(f"{what}: not after {_START_SECONDS:.0f} s")
            time.sleep(0.05)

    def collect(self) -> None:
        """Reap every process that ends, until none is left."""
        while True:
            try:
                pid, status = os.wait()
            except ChildProcessError:
                return
            names = {process.pid: name for name, process in self._started.items()}
            if pid in names:
                say(f"{names[pid]} ended: {os.waitstatus_to_exitcode(status)}")


def main() -> None:
    layout = Layout(Path(sys.argv[1]))
    write_record(layout.root, tuple(folder for folder in MOUNT_POINTS if not Path(folder).exists()))
    _arrange_mounts(layout)
    node = Node(layout)
    node.wait_for(lambda: NODE_LINK in {name for _, name in socket.if_nameindex()}, "the link to the machine")
    _arrange_network()
    node.start(components.containerd(layout))
    node.start(components.etcd(layout))
    node.start(components.api_server(layout))
    node.wait_for(_containerd_answers, "containerd")
    for archive in sorted(layout.images.glob("*.tar")):
        _run("ctr", "--namespace", "k8s.io", "images", "import", str(archive))
    node.wait_for(lambda: _api_answers(layout), "the API server")
    say("API server ready")
    node.start(components.controller_manager(layout))
    node.start(components.scheduler(layout))
    node.start(components.kubelet(layout))
    node.start(components.kube_proxy(layout))
    signal.signal(signal.SIGHUP, lambda *_: node.restart(components.api_server(layout)))
    node.collect()


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def _arrange_mounts(layout: Layout) -> None:
    _run("mount", "--make-rshared", "/")
    _run("mount", "-t", "proc", "proc", "/proc")
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for folder in ("netns", "lock", "containerd"):
        Path("/run", folder).mkdir()
    for point in MOUNT_POINTS:
        source = layout.disk / point.lstrip("/")
        source.mkdir(parents=True)
        Path(point).mkdir(parents=True, exist_ok=True)
        _run("mount", "--bind", str(source), point)
    for setting, value in _KUBELET_SETTINGS.items():
        if Path("/proc/sys", setting).exists():
            stand_in = layout.config / setting.replace("/", ".")
            stand_in.write_text(f"{value}\n")
            _run("mount", "--bind", str(stand_in), f"/proc/sys/{setting}")


def _arrange_network() -> None:
    """No default route: what has nowhere to go, such as a look for a cloud's metadata, then fails at once."""
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "address", "add", f"{NODE_ADDRESS}/{LINK_NETWORK.partition('/')[2]}", "dev", NODE_LINK)
    _run("ip", "link", "set", NODE_LINK, "up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _containerd_answers() -> bool:
    if not Path(CONTAINERD_SOCKET).exists():
        return False
    return subprocess.run(["ctr", "version"], capture_output=True).returncode == 0


def _api_answers(layout: Layout) -> bool:
    trust = ssl.create_default_context(cafile=str(layout.pki / "ca.crt"))
    try:
        with urllib.request.urlopen(f"https://127.0.0.1:{API_PORT}/readyz", timeout=2, context=trust) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _run(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.stdout.strip()}")


if __name__ == "__main__":
    main()
