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
        scratch_root: exists; the model is unpacked there.
        cache: where a download goes; need not exist yet.

    Raises:
        ConfigurationError: it is absent or denied, no .nemo, the cache cannot be written, or no room will ever do.
        RetryableError: the store is away, or there is no room now.
    """
    probe = context.model.probe(cache)
    if probe.to_download != 0:
        _refuse_unwritable(cache)
    if probe.size is None or probe.to_download is None:
        return
    scratch = context.job.spec.workers.scratch
    limit = None if scratch.volume else parse_quantity(scratch.size_limit)
    floor = parse_quantity(scratch.min_free)
    to_unpack = probe.size + floor
    if probe.to_download:
        place = _nearest(cache)
        on_one_disk = place.stat().st_dev == scratch_root.stat().st_dev
        _refuse_small(
            f"The model cache {cache}",
            needed=probe.to_download + (to_unpack if on_one_disk else 0),
            free=free_bytes(place),
            most=_disk_bytes(place),
            why=f"for a model of {probe.size} bytes{', its copy in scratch and minFree' if on_one_disk else ''}",
            cure="give it a larger volume or delete old models there",
        )
    _refuse_small(
        f"Scratch {scratch_root}",
        needed=to_unpack,
        free=free_bytes(scratch_root, limit),
        most=_disk_bytes(scratch_root) if limit is None else limit,
        why=f"to unpack a model of {probe.size} bytes and keep spec.workers.scratch.minFree",
        cure="give it a larger volume or raise spec.workers.scratch.sizeLimit",
    )


def _refuse_unwritable(cache: Path) -> None:
    place = _nearest(cache)
    if not place.is_dir():
        raise ConfigurationError(f"The model cache {cache} is no directory: name one that may be made or written.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"The model cache {cache} cannot be written by user {os.getuid()}: mount a volume there that this user "
            "may write (spec.workers.cache)."
        )


def _refuse_small(place: str, *, needed: int, free: int, most: int, why: str, cure: str) -> None:
    if free >= needed:
        return
    sentence = f"{place} has {max(0, free)} bytes free and needs {needed} {why}: {cure}."
    raise ConfigurationError(sentence) if most < needed else RetryableError(sentence)


def _disk_bytes(place: Path) -> int:
    disk = os.statvfs(place)
    return disk.f_blocks * disk.f_frsize


def _nearest(place: Path) -> Path:
    """The place, or the closest directory above it that exists."""
    return next(path for path in (place.absolute(), *place.absolute().parents) if path.exists())
