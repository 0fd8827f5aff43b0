"""Where the entry points find their manifest, their scratch and their cache when no option says so."""

from __future__ import annotations

import os
from pathlib import Path

JOB_VARIABLE = "TRANSCRIPTION_JOB"
"""Holds the manifest as text."""
SCRATCH_VARIABLE = "TRANSCRIPTION_SCRATCH"
CACHE_VARIABLE = "TRANSCRIPTION_CACHE"


def default_scratch() -> Path:
    """$TRANSCRIPTION_SCRATCH, or a directory of this user's in the system's place for temporary files."""
    temporary = os.environ.get("TMPDIR", "/tmp")  # noqa: S108  only the parent of a directory with mode 0700
    return Path(os.environ.get(SCRATCH_VARIABLE) or f"{temporary}/transcription-{os.getuid()}")


def default_cache() -> Path:
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "transcription")
