"""Which process is the cluster: one small file outside the checkout, written by that process before it does anything.

The file outlives whoever started the cluster and a deleted `.tools`. A process is named by id, start time and boot, so
a process that was given the id of a dead one is never taken for it.
"""

from __future__ import annotations

import json
import os
import select
import signal
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.cluster.errors import ClusterError
from tests.cluster.layout import RECORD

_START_TIME = 22 - 3  # field 22 of proc(5) stat, counted from the first field behind the name
_STOP_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Record:
    """The first process of the node's namespaces, by its id outside them.

    Attributes:
        started: clock ticks since boot.
        root: the folder that `Layout` describes.
        folders: mount points that the cluster had to make on this machine.
    """

    pid: int
    started: int
    boot: str
    root: str
    folders: tuple[str, ...] = ()

    @property
    def alive(self) -> bool:
        return self.boot == _boot() and _started(self.pid) == self.started

    def children(self) -> dict[str, int]:
        """Program name -> process id of what the first process started and has not outlived."""
        found = {}
        try:
            pids = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            return {}
        for pid in pids:
            try:
                program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
            except (FileNotFoundError, ProcessLookupError):
                continue
            found[Path(program).name] = int(pid)
        return found

    def kill(self) -> None:
        """End the process, and with it every process in its namespaces, and wait until they are gone.

        Raises:
            ClusterError: they are not gone after a minute.
        """
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if not self.alive:  # asked after the handle was taken: the handle cannot turn to another process
                return
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            ended, _, _ = select.select([handle], [], [], _STOP_SECONDS)
        finally:
            os.close(handle)
        if not ended:
            raise ClusterError(
                f"Process {self.pid}, the test cluster, did not end within {_STOP_SECONDS} s of SIGKILL."
            )


def read_record() -> Record | None:
    try:
        fields = json.loads(RECORD.read_text())
    except FileNotFoundError:
        return None
    return Record(**{**fields, "folders": tuple(fields["folders"])})


def write_record(root: Path, folders: tuple[str, ...]) -> None:
    """Record this process. To be called where /proc still shows the process's id outside its own namespace."""
    pid = own_process()
    started = _started(pid)
    assert started is not None
    draft = RECORD.with_suffix(".new")
    draft.write_text(json.dumps(asdict(Record(pid, started, _boot(), str(root), folders))))
    draft.replace(RECORD)


def own_process() -> int:
    """This process's id in the namespace that /proc was mounted in, which need not be the process's own."""
    return int(Path("/proc/self").readlink().name)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _started(pid: int) -> int | None:
    """None for a process that is gone, and for one that is dead and not yet collected by its parent."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[_START_TIME])
