"""NetworkPolicy in the test cluster, for tests that ask for it: kube-router's firewall, and nothing else of it.

It is no component of every start: whenever a pod comes or goes it writes the node's filter table anew, with the rules
that kube-proxy had there a moment ago.
"""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.build import build
from tests.cluster.components import kube_router
from tests.cluster.errors import ClusterError
from tests.cluster.layout import Layout
from tests.cluster.record import Record, read_record

_CHAINS = ("INPUT", "FORWARD", "OUTPUT")
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_OWN = " -j KUBE-ROUTER-"
"""In each of the rules through which packets come to the firewall's chains."""


@contextmanager
def enforced_policies(layout: Layout) -> Iterator[None]:
    """The policies of all namespaces hold within, and none does afterwards. A pod waits a second or so for its rules.

    Raises:
        ClusterError: no cluster of `layout` runs, or the firewall did not start.
    """
    record = read_record()
    if record is None or not record.alive or record.root != str(layout.root):
        raise ClusterError("No test cluster of this checkout runs; start it with `make cluster-up`.")
    build("kube-router")
    # in no process namespace of the node's: it goes with whoever asked for it, and that may die without a word
    command = ["setpriv", "--pdeathsig=KILL", *_inside(record), *kube_router(layout)]
    with (layout.logs / "kube-router.log").open("wb") as log:
        firewall = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while len(_entrances(record)) < len(_CHAINS):
            if firewall.poll() is not None or time.monotonic() > deadline:
                raise ClusterError(f"NetworkPolicies are not enforced: see {layout.logs / 'kube-router.log'}.")
            time.sleep(0.1)
        yield
    finally:
        firewall.terminate()
        try:
            firewall.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            firewall.kill()
            firewall.wait()
        if record.alive:
            for rule in _entrances(record):
                _iptables(record, "--delete", *rule)


def _entrances(record: Record) -> list[list[str]]:
    """Chain and arguments of each rule that leads into the firewall's own chains."""
    rules = (rule for chain in _CHAINS for rule in _iptables(record, "--list-rules", chain).splitlines())
    return [shlex.split(rule)[1:] for rule in rules if _OWN in rule]


def _iptables(record: Record, *arguments: str) -> str:
    done = subprocess.run([*_inside(record), "iptables", "--wait", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise ClusterError(f"`iptables {' '.join(arguments)}` failed in the node: {done.stderr.strip()}")
    return done.stdout


def _inside(record: Record) -> list[str]:
    return ["nsenter", f"--target={record.pid}", "--net", "--mount"]
