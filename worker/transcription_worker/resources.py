"""What this process may use of the machine."""

from __future__ import annotations

import os
from pathlib import Path


def cpu_count() -> int:
    """CPUs that the scheduler (affinity) and the container (cgroup v2 `cpu.max`, v1 CFS quota) allow, at least 1."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        allowed = os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(allowed, int(quota)) if quota else allowed)


def thread_environment(processes: int) -> dict[str, str]:
    """The variable that gives each of so many processes its share of the CPUs, where the user has not set it."""
    variable = "OMP_NUM_THREADS"
    return {variable: os.environ.get(variable) or str(max(1, cpu_count() // processes))}


def _cgroup_quota() -> float | None:
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        pass
    try:
        folder = Path("/sys/fs/cgroup/cpu")
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        return quota / int((folder / "cpu.cfs_period_us").read_text()) if quota > 0 else None
    except (OSError, ValueError):
        return None
