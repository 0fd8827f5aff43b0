"""Where the entry points find what no option names: manifest, scratch, cache, address, termination log."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from transcription_worker.errors import ConfigurationError

JOB_VARIABLE = "TRANSCRIPTION_JOB"
"""Holds the manifest as text."""
SCRATCH_VARIABLE = "TRANSCRIPTION_SCRATCH"
CACHE_VARIABLE = "TRANSCRIPTION_CACHE"
LISTEN_VARIABLE = "TRANSCRIPTION_LISTEN"
"""HOST:PORT on which a worker answers HTTP; it listens nowhere without it."""
POD_NAME_VARIABLE = "POD_NAME"
"""Tells the lives of one worker apart: the host name in a pod of an Indexed Job is `<job>-<index>` for all of them."""
TERMINATION_LOG_VARIABLE = "TRANSCRIPTION_TERMINATION_LOG"
GPU_PRICE_VARIABLE, CURRENCY_VARIABLE = "TRANSCRIPTION_GPU_HOUR_PRICE", "TRANSCRIPTION_CURRENCY"
"""What an hour of one GPU costs, for the report, and in which currency."""


def default_scratch() -> Path:
    """$TRANSCRIPTION_SCRATCH, or a directory of this user's in the system's place for temporary files."""
    temporary = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108  only the parent of a directory with mode 0700
    return Path(os.environ.get(SCRATCH_VARIABLE) or f"{temporary}/transcription-{os.getuid()}")


def default_cache() -> Path:
    """$TRANSCRIPTION_CACHE, or in the user's cache; beside scratch for a user without a home."""
    if configured := os.environ.get(CACHE_VARIABLE):
        return Path(configured)
    try:
        return Path.home() / ".cache" / "transcription"
    except RuntimeError:
        return default_scratch().with_name(f"transcription-cache-{os.getuid()}")


def refuse_overlap(scratch: Path, others: Mapping[str, Path]) -> None:
    """Scratch is swept: nothing that is to stay may lie in it, nor scratch in what is somebody else's.

    Args:
        others: what a place is, in words, and where it is.

    Raises:
        ConfigurationError: scratch is one of these places, or lies in it or around it.
    """
    root = scratch.expanduser().resolve()
    for name, place in others.items():
        other = place.expanduser().resolve()
        if root == other or root in other.parents or other in root.parents:
            raise ConfigurationError(
                f"Scratch {scratch} and {name} {place} overlap, and scratch is swept: choose a folder of its own "
                "with --scratch."
            )
