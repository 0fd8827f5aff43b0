"""The model cache on disk: one writer per model, whole files only, and no partial download that outlives its writer.

    <cache>/models/<stem>.nemo       a whole model
    <cache>/models/<stem>.partial    a download under way, or an orphan when its lock is free
    <cache>/models/<stem>.lock       empty; flock(2) held by who writes the two, dropped by the kernel at its death
    <cache>/huggingface/hub/         the hub's own layout (HF_HOME/hub), its downloads under the same locks

Locks stay: a lock file that is removed while another process waits for it would let in two. What is downloaded, and
from where, is `model_source.py`.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

HUB_INCOMPLETE = "*.incomplete"
"""huggingface_hub's name for a download under way, beside the blob that it becomes."""

POLL_SECONDS = 0.2
STANDSTILL_SECONDS = 300.0
"""To verify ten gigabytes takes a slow disk less."""


def models_folder(cache: Path) -> Path:
    return cache / "models"


def hub_folder(cache: Path) -> Path:
    """Where HF_HOME points to when `Scratch.environment(cache)` sets it, so that both see the same models."""
    return cache / "huggingface" / "hub"


class WriterStandsStillError(Exception):
    """The process that writes the model lives and does not go on: it is frozen, or what it reads from is."""


@contextmanager
def only_writer(cache: Path, stem: str, go_on: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Be the only process that writes this model; waits for the one that is at it.

    Args:
        go_on: called again and again while it waits; what it raises ends that.

    Raises:
        WriterStandsStillError: nothing of it has come for `STANDSTILL_SECONDS`.
        OSError: the cache cannot be written.
    """
    folder = models_folder(cache)
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / f"{stem}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        if not _locked(descriptor):
            log.info("another process is fetching the model into %s: waiting for it", cache)
            _await_lock(descriptor, cache, stem, go_on)
        _remove_orphans(cache, stem)
        yield
    finally:
        os.close(descriptor)


def _await_lock(descriptor: int, cache: Path, stem: str, go_on: Callable[[], None]) -> None:
    seen, since = _bytes_on_their_way(cache, stem), time.monotonic()
    while not _locked(descriptor):
        go_on()
        time.sleep(POLL_SECONDS)
        if (now := _bytes_on_their_way(cache, stem)) != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > STANDSTILL_SECONDS:
            raise WriterStandsStillError


def _bytes_on_their_way(cache: Path, stem: str) -> int:
    total = 0
    for path in _downloads(cache, stem):
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


def _downloads(cache: Path, stem: str) -> list[Path]:
    """What is being written of a model, or what a dead writer left."""
    return [partial_path(cache, stem), *(hub_folder(cache) / stem / "blobs").glob(HUB_INCOMPLETE)]


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
    present = [path for path in _downloads(cache, stem) if path.exists()]
    for path in present:
        log.info("removed the partial download %s of %d bytes", path.name, path.stat().st_size)
        path.unlink()
    return len(present)
