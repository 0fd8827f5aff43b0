"""Everything that happens to the objects of one kind, seen through a watch. Free of pytest."""

from __future__ import annotations

import json
import subprocess
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.cluster import Cluster


@dataclass
class History:
    """Every version of every object, in order, as (what happened, object)."""

    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def uids(self) -> dict[str, set[str]]:
        """By name, every object that ever bore it."""
        found: dict[str, set[str]] = defaultdict(set)
        for _, thing in list(self.seen):
            found[thing["metadata"]["name"]].add(thing["metadata"]["uid"])
        return dict(found)

    def of(self, name: str) -> list[dict[str, Any]]:
        return [thing for _, thing in list(self.seen) if thing["metadata"]["name"] == name]

    @property
    def text(self) -> str:
        return json.dumps(self.seen)


@contextmanager
def watching(cluster: Cluster, kind: str, namespace: str) -> Iterator[History]:
    """What happens from now on until the end of the block."""
    command = [cluster.program, f"--kubeconfig={cluster.kubeconfig}", "get", kind, f"--namespace={namespace}"]
    shape = ["--show-managed-fields", "--output-watch-events", '--output=jsonpath={.type} {.object}{"\\n"}']
    process = subprocess.Popen([*command, "--watch", *shape], stdout=subprocess.PIPE, text=True)
    history = History()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            happened, _, text = line.partition(" ")
            history.seen.append((happened, json.loads(text)))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield history
    finally:
        process.terminate()
        process.wait()
        reader.join()
