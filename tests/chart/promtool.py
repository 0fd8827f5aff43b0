"""promtool, Prometheus' own judge of rules: out of Debian's package, unpacked into .tools and not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cluster.layout import REPOSITORY

_FOLDER = REPOSITORY / ".tools" / "prometheus"
_PROGRAM = _FOLDER / "usr" / "bin" / "promtool"
_PACKAGE = "prometheus"


def promtool() -> Path:
    """The program, fetched by the first call; skips where there is no apt, but never in CI."""
    if _PROGRAM.exists():
        return _PROGRAM
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        _give_up("promtool comes from Debian's package of Prometheus, and there is no apt here")
    _FOLDER.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["apt-get", "download", _PACKAGE], cwd=_FOLDER, capture_output=True, text=True)
    archives = sorted(_FOLDER.glob(f"{_PACKAGE}_*.deb"))
    if done.returncode != 0 or not archives:
        _give_up(f"apt-get download {_PACKAGE} failed, run apt-get update first: {done.stderr}")
    subprocess.run(["dpkg-deb", "--extract", archives[-1], _FOLDER], check=True)
    for archive in archives:
        archive.unlink()
    return _PROGRAM


def _give_up(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
