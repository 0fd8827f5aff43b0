"""One contender in a process of its own: wall and CPU seconds, peak memory of it and all its children."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Measured:
    """`peak_bytes` is the largest sum of resident memory of the process and its descendants (sampled at 10 Hz);
    `other_cpu_seconds` is what everything else on the machine took meanwhile: where it is much, wall time says little.
    """

    wall_seconds: float
    cpu_seconds: float
    other_cpu_seconds: float
    peak_bytes: int
    output: str

    @property
    def peak_gb(self) -> float:
        return self.peak_bytes / 1e9


def measure(command: list[str], environment: Mapping[str, str]) -> Measured:
    """Run a command to its end. Raises SystemExit with its output when it fails."""
    before, machine = os.times(), _machine_cpu_seconds()
    start = time.monotonic()
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    peak = [0]
    ended = threading.Event()
    sampler = threading.Thread(target=_sample, args=(process.pid, peak, ended))
    sampler.start()
    output, _ = process.communicate()
    wall = time.monotonic() - start
    ended.set()
    sampler.join()
    if process.returncode != 0:
        raise SystemExit(f"{command} ended with {process.returncode}:\n{output}")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Measured(wall, cpu, max(0.0, _machine_cpu_seconds() - machine - cpu), peak[0], output)


def _machine_cpu_seconds() -> float:
    """What all processes have taken since the machine started: user, nice, system, irq and softirq of proc_stat(5)."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _sample(pid: int, peak: list[int], ended: threading.Event) -> None:
    while not ended.wait(0.1):
        peak[0] = max(peak[0], _resident(pid))


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for task in Path(f"/proc/{pid}/task").iterdir():
            if task.name != str(pid):
                children += (task / "children").read_text().split()
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(_resident(int(child)) for child in children)
