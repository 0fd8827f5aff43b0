"""The sweep: takes away what dead processes left in scratch, and never what a live one owns.

Anyone may sweep at any time, any number at once: the init container, a starting worker, one that runs out of space,
the preStop hook. What is an orphan is said by locks (`scratch_lease`), how trees are removed by `scratch_tree`.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transcription_worker import scratch_lease, scratch_tree
from transcription_worker.errors import RetryableError
from transcription_worker.fault_points import Point, reach
from transcription_worker.scratch_space import free_bytes

logger = logging.getLogger("transcription_worker.scratch")

FOREIGN_AGE_SECONDS = 3600.0
"""Strangers hold no lease, so only their age can say that they are done."""

STRAY_PREFIX = "nemo_"
STRAY_SUFFIXES = frozenset({".aac", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".pcm", ".raw", ".tmp", ".wav", ".webm"})
"""With the prefix: the temp files that ASR services are known to leak. `nemo_experiments/` or `nemo_asr.nemo` in a
directory that is not ours as a whole is somebody's work."""


@dataclass(slots=True)
class SweepResult:
    """What one sweep found.

    `orphans` are owners that were dead; `removed` counts files, links and directories at any depth and `removed_bytes`
    their size; `live` owners were left alone, `kept_young` strangers are not old enough, `kept_foreign` are none of our
    business; `failed` paths could not be removed and are tried again by the next sweep.
    """

    orphans: int = 0
    removed: int = 0
    removed_bytes: int = 0
    live: int = 0
    kept_young: int = 0
    kept_foreign: int = 0
    failed: int = 0


def sweep(
    root: Path, *, foreign_age_seconds: float = FOREIGN_AGE_SECONDS, now: Callable[[], float] = time.time
) -> SweepResult:
    """Remove every orphan below the root. Never raises OSError: what cannot be removed is logged and counted.

    Args:
        root: scratch; one that does not exist has no orphans.
        foreign_age_seconds: how long what has no lease must have been left alone before it goes.
        now: seconds since the epoch.
    """
    result = SweepResult()
    try:
        with scratch_tree.opened(root) as directory:
            newer_than = now() - foreign_age_seconds
            ours = scratch_lease.is_marked(directory)
            mounted = scratch_tree.mounted_below(directory)
            result.kept_foreign += len(mounted)
            for name in sorted(set(scratch_tree.names(directory)) - mounted):
                _sweep_entry(directory, name, newer_than, ours, result)
    except FileNotFoundError:
        return result
    except OSError as error:
        logger.warning("scratch %s cannot be swept: %s", root, error.strerror)
        result.failed += 1
    level = logging.INFO if result.removed else logging.DEBUG
    logger.log(level, "swept scratch %s: %s", root, summary(result))
    return result


def _sweep_entry(root: int, name: str, newer_than: float, ours: bool, result: SweepResult) -> None:
    owner = name.removesuffix(scratch_lease.LEASE_SUFFIX)
    if name in scratch_lease.KEPT:
        return
    if scratch_tree.TRASH.fullmatch(name):
        _remove(root, name, result)
    elif not scratch_lease.OWNER.fullmatch(owner):
        if ours or _is_stray(root, name):
            _sweep_foreign(root, name, newer_than, result)
        else:
            result.kept_foreign += 1
    elif owner != name:
        _sweep_owner(root, owner, result)
    elif not _exists(root, name + scratch_lease.LEASE_SUFFIX):
        _sweep_foreign(root, name, newer_than, result)  # somebody removed the lease by hand


def _sweep_owner(root: int, owner: str, result: SweepResult) -> None:
    try:
        lease = scratch_lease.take_over(root, owner)
    except OSError as error:
        logger.warning("lease %s in scratch cannot be looked at: %s", owner, error.strerror)
        result.failed += 1
        return
    if lease is None:
        result.live += _exists(root, owner + scratch_lease.LEASE_SUFFIX)
        return
    result.orphans += 1
    reach(Point.ORPHAN_TAKEN)
    if _remove(root, owner, result):
        reach(Point.ORPHAN_REMOVED)
        lease.release(root)
    else:
        lease.drop()


def _sweep_foreign(root: int, name: str, newer_than: float, result: SweepResult) -> None:
    if scratch_tree.is_young(root, name, newer_than):
        result.kept_young += 1
    else:
        _remove(root, name, result)


def _remove(root: int, name: str, result: SweepResult) -> bool:
    removal = scratch_tree.remove_entry(root, name)
    result.removed += removal.paths
    result.removed_bytes += removal.size
    result.failed += removal.failed
    if removal.failed:
        logger.warning("%r in scratch cannot be removed now, the next sweep tries again: %s", name, removal.error)
    elif removal.paths:
        logger.debug("swept %r: %d paths, %d bytes", name, removal.paths, removal.size)
    return not removal.failed


def _is_stray(root: int, name: str) -> bool:
    if not name.startswith(STRAY_PREFIX) or Path(name).suffix.lower() not in STRAY_SUFFIXES:
        return False
    try:
        return not stat.S_ISDIR(os.stat(name, dir_fd=root, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _exists(root: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=root, follow_symlinks=False)
    except OSError:
        return False
    return True


def summary(result: SweepResult) -> str:
    """One line for logs."""
    return (
        f"{result.orphans} orphans, removed {result.removed} paths of {result.removed_bytes} bytes, "
        f"{result.live} live owners, kept {result.kept_young} young and {result.kept_foreign} foreign, "
        f"{result.failed} failed"
    )


def checked_sweep(root: Path, min_free_bytes: int) -> tuple[SweepResult, int]:
    """Sweep as a command of its own; returns what it found and the bytes that are free now.

    Failed removals do not count as a failure. Too little room does: the pod is better tried again, perhaps elsewhere,
    than given a GPU to wait with.

    Raises:
        ConfigurationError: the root is no directory or cannot be written.
        RetryableError: there is too little room.
    """
    scratch_lease.prepare_root(root)
    result = sweep(root)
    free = free_bytes(root)
    logger.info("scratch %s: %s, %d bytes free", root, summary(result), free)
    if free < min_free_bytes:
        raise RetryableError(
            f"Scratch {root} has {free} bytes free and needs {min_free_bytes}: free space there, give it a larger "
            "volume or lower the floor."
        )
    return result, free
