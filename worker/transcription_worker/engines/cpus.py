"""How many CPUs this process may use. Nothing here knows of a model."""

from __future__ import annotations

import math
import os
from pathlib import Path

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
"""Quota and period of the process's cgroup in microseconds, or `max` (cgroup-v2.rst, "CPU Interface Files")."""


def usable_cpus(cpu_max: Path = CPU_MAX) -> int:
    """The CPUs that the scheduler gives this process: its affinity, and a container's limit rounded up; at least 1."""
    cpus = len(os.sched_getaffinity(0))
    try:
        quota, period = cpu_max.read_text().split()
        cpus = min(cpus, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        pass  # no cgroup v2 here, or no limit
    return max(cpus, 1)


def thread_count(asked: int | None) -> int:
    """Threads for the model: what was asked for, else OMP_NUM_THREADS, else every usable CPU."""
    if asked is not None:
        return max(asked, 1)
    try:
        return max(int(os.environ["OMP_NUM_THREADS"]), 1)
    except (KeyError, ValueError):
        return usable_cpus()
