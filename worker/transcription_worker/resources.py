"""What this process may use of the machine."""

from __future__ import annotations

import contextlib
import ctypes
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


def shows_gpu(devices: Path = Path("/dev")) -> bool:
    """Whether the kernel shows this process an NVIDIA card. torch says more, and takes seconds to import."""
    return any(devices.glob("nvidia[0-9]*"))


def thread_environment(processes: int) -> dict[str, str]:
    """The variable that gives each of so many processes its share of the CPUs, where the user has not set it."""
    variable = "OMP_NUM_THREADS"
    return {variable: os.environ.get(variable) or str(max(1, cpu_count() // processes))}


M_ARENA_MAX = -8
"""mallopt(3)"""


def share_heaps() -> None:
    """Let glibc keep as many heaps as there are CPUs, in place of eight for each.

    To be called before threads start. Segments of audio come and go on a dozen threads, and what each heap keeps of
    them adds up: 0.33 GB after four hours of audio on 2 CPUs. Elsewhere than on glibc nothing happens.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, max(2, cpu_count()))


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
