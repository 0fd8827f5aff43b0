"""A wall clock that a test moves under a running program, by libfaketime (Debian's package `faketime`)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

CACHE_SECONDS = 1
_LIBRARY = "faketime/libfaketimeMT.so.1"
_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")


_SLEEP = """
import select, time
def sleep(seconds):
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], seconds)
time.sleep = sleep
"""
"""libfaketime 0.9.10 answers clock_nanosleep(2) by the monotonic clock, which is how Python sleeps since 3.11, with
EINVAL: here it sleeps as it did before."""


@dataclass(frozen=True, slots=True)
class FalseClock:
    """How far off it is stands in a file, which the program reads again when it asks for the time, once in a second."""

    library: Path
    file: Path

    @property
    def environment(self) -> dict[str, str]:
        """For the program. Its monotonic clock stays true, as that of a machine whose wall clock is set does."""
        return {
            "LD_PRELOAD": str(self.library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_CACHE_DURATION": str(CACHE_SECONDS),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def environment_of_python(self) -> dict[str, str]:
        """For a program that sleeps with `time.sleep`."""
        folder = self.file.with_suffix(".python")
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(_SLEEP)
        path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
        return {**self.environment, "PYTHONPATH": path}

    def set(self, off: timedelta) -> None:
        """All at once: nobody reads half a number."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{off.total_seconds():+.0f}\n")
        new.replace(self.file)


def false_clock(folder: Path) -> FalseClock:
    """A clock that is right until it is set; skips where there is no libfaketime, but never in CI."""
    found = [path for root in _FOLDERS if (path := Path(root, _LIBRARY)).exists()]
    if not found:
        why = "libfaketime is missing: install the package faketime."
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    clock = FalseClock(found[0], folder / "clock")
    clock.set(timedelta())
    return clock
