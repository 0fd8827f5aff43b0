"""Starts tests/data/scratch_driver.py and looks at what it leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DRIVER = Path(__file__).parent / "data" / "scratch_driver.py"
DEADLINE_SECONDS = 60


@contextmanager
def driver(command: str, root: Path, argument: str = "", user: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """A running driver, as `user` where given; killed at the end of the block where it still runs."""
    process = subprocess.Popen(
        [sys.executable, str(DRIVER), command, str(root), argument, *([] if user is None else [str(user)])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def told(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line that a driver prints."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        _, errors = process.communicate(timeout=DEADLINE_SECONDS)
        raise AssertionError(f"the driver ended with {process.returncode}: {errors}")
    facts: dict[str, Any] = json.loads(line)
    return facts


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def start_and_end(root: Path) -> None:
    """The next start: a process that uses scratch as it should."""
    with driver("hold", root) as process:
        told(process)
        go_on(process)
        assert told(process) == {"kept": True}
        assert process.wait(DEADLINE_SECONDS) == 0


def left(root: Path) -> list[str]:
    """Everything below the root but its marker."""
    return sorted(
        path.relative_to(root).as_posix() for path in root.rglob("*") if path.name != ".transcription-scratch"
    )
