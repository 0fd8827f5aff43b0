"""What the init container checks beside the sweep, before a GPU waits: that the model can be had and has room.

Takes no more than a request and a few system calls. Whether the model can be used is found out by who loads it.
"""

from __future__ import annotations

import os
from pathlib import Path

from transcription_api.quantity import parse_quantity
from transcription_worker.errors import ConfigurationError, RetryableError
from transcription_worker.job_context import JobContext
from transcription_worker.scratch_space import free_bytes


def check_model(context: JobContext, scratch_root: Path, cache: Path) -> None:
    """Check source, cache and room of the job's model.

    Args:
        scratch_root: exists, and has its `minFree`.
        cache: where a download goes; need not exist yet.

    Raises:
        ConfigurationError: it is absent or denied, no .nemo, the cache cannot be written, or no room will ever do.
        RetryableError: the store is away, or there is no room now.
    """
    probe = context.model.probe(cache)
    if probe.to_download != 0:
        _refuse_unwritable(cache)
    if not probe.to_download:
        return
    place = _nearest(cache)
    on_one_disk = place.stat().st_dev == scratch_root.stat().st_dev
    floor = parse_quantity(context.job.spec.workers.scratch.min_free) if on_one_disk else 0
    free, needed = free_bytes(place), probe.to_download + floor
    if free < needed:
        why = f"for a model of {probe.size} bytes{' beside the minFree of scratch' if on_one_disk else ''}"
        sentence = (
            f"The model cache {cache} has {max(0, free)} bytes free and needs {needed} {why}: give it a larger volume "
            "or delete old models there."
        )
        raise ConfigurationError(sentence) if _disk_bytes(place) < needed else RetryableError(sentence)


def _refuse_unwritable(cache: Path) -> None:
    place = _nearest(cache)
    if not place.is_dir():
        raise ConfigurationError(f"The model cache {cache} is no directory: name one that may be made or written.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"The model cache {cache} cannot be written by user {os.getuid()}: mount a volume there that this user "
            "may write (spec.workers.cache)."
        )


def _disk_bytes(place: Path) -> int:
    disk = os.statvfs(place)
    return disk.f_blocks * disk.f_frsize


def _nearest(place: Path) -> Path:
    """The place, or the closest directory above it that exists."""
    return next(path for path in (place.absolute(), *place.absolute().parents) if path.exists())
