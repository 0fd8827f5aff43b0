"""Whole jobs on a disk that misbehaves, in their short form; `python -m tests.chaos.disk` is the long one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.chaos.disk_volumes import in_own_namespace, reason_without
from tests.s3server import S3Server

pytestmark = [pytest.mark.s3, pytest.mark.model, pytest.mark.root, pytest.mark.slow]

SHORT = {
    "read-only in the middle": "ext4",
    "shared by six, one dead, one frozen": "root",
}
"""Scene -> what it needs."""


def test_a_disk_that_misbehaves_costs_attempts_and_no_recording(s3: S3Server, tmp_path: Path) -> None:
    """`s3` only for the server's program; the scenes start one of their own, in their own mount namespace."""
    possible = [name for name, need in SHORT.items() if reason_without(need) is None]
    if not possible:
        pytest.skip(str(reason_without("root")))
    told = tmp_path / "figures.json"
    asked = [argument for name in possible for argument in ("--only", name)]
    command = in_own_namespace(["tests.chaos.disk", "--recordings", "12", "--json", str(told), *asked])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.exists(), done.stdout + done.stderr
    figures = json.loads(told.read_text())
    assert figures["broken_promises"] == []
    assert sorted(figures["scenes"]) == sorted(possible)
    lost_or_left = ("recordings_lost", "transcripts_wrong", "bytes_left", "partials_left")
    assert {name: figures[name] for name in lost_or_left} == dict.fromkeys(lost_or_left, 0)
    assert done.returncode == 0
