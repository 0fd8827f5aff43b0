"""The model cache on disk: one writer per model, whole files only, and no partial download that outlives its writer.

    <cache>/models/<stem>.nemo       a whole model
    <cache>/models/<stem>.partial    a download under way, or an orphan when its lock is free
    <cache>/models/<stem>.lock       empty; flock(2) held by who writes the two, dropped by the kernel at its death
    <cache>/huggingface/hub/         the hub's own layout (HF_HOME/hub), its downloads under the same locks

Locks stay: a lock file that is removed while another process waits for it would let in two. What is downloaded, and
from where, is `model_source.py`.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

HUB_INCOMPLETE = "*.incomplete"
"""huggingface_hub's name for a download under way, beside the blob that it becomes."""


def models_folder(cache: Path) -> Path:
    return cache / "models"


def hub_folder(cache: Path) -> Path:
    """Where HF_HOME points to when `Scratch.environment(cache)` sets it, so that both see the same models."""
    return cache / "huggingface" / "hub"


@contextmanager
def only_writer(cache: Path, stem: str) -> Iterator[None]:
    """Be the only process that writes this model; waits for the one that is at it. Raises OSError."""
    folder = models_folder(cache)
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / f"{stem}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        if not _locked(descriptor):
            log.info("another process is fetching the model into %s: waiting for it", cache)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        _remove_orphans(cache, stem)
        yield
    finally:
        os.close(descriptor)


def partial_path(cache: Path, stem: str) -> Path:
    return models_folder(cache) / f"{stem}.partial"


def sweep_partials(cache: Path) -> int:
    """Remove the downloads that dead processes left; returns how many. Never raises OSError: the next sweep tries."""
    removed = 0
    try:
        locks = sorted(models_folder(cache).glob("*.lock"))
    except OSError:
        return 0
    for lock in locks:
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # another user's
        try:
            if _locked(descriptor):
                removed += _remove_orphans(cache, lock.stem)
        except OSError as error:
            log.warning("partial downloads in %s cannot be swept: %s", cache, error.strerror)
        finally:
            os.close(descriptor)
    return removed


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_orphans(cache: Path, stem: str) -> int:
    """The caller holds the lock, so whoever wrote these is dead."""
    orphans = [partial_path(cache, stem), *(hub_folder(cache) / stem / "blobs").glob(HUB_INCOMPLETE)]
    present = [path for path in orphans if path.exists()]
    for path in present:
        log.info("removed the partial download %s of %d bytes", path.name, path.stat().st_size)
        path.unlink()
    return len(present)
