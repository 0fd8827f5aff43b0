"""Fault points: nothing without the switch, with it the right signal at the right passing, and no point without use."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import transcription_worker
from transcription_worker import fault_points
from transcription_worker.fault_points import VARIABLE, Fault, Point

SOURCES = sorted(Path(transcription_worker.__file__).parent.rglob("*.py"))


def passing(switch: str | None, code: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != VARIABLE} | ({VARIABLE: switch} if switch else {})
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def test_every_point_stands_in_the_code() -> None:
    used = {name for source in SOURCES for name in re.findall(r"\breach\(Point\.(\w+)\)", source.read_text())}
    assert used == {point.name for point in Point}


def test_without_the_switch_nothing_happens_and_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fault_points.reach is fault_points._pass
    monkeypatch.setenv(VARIABLE, "commit.before:1")
    fault_points.reach(Point.COMMIT_BEFORE)


def test_the_process_dies_at_the_named_passing() -> None:
    code = (
        "from transcription_worker.fault_points import Point, reach\n"
        "for n in range(5):\n"
        "    print(n, flush=True)\n"
        "    reach(Point.FORMAT_PUT)\n"
        "    reach(Point.COMMIT_BEFORE)\n"
    )
    died = passing("commit.before:3", code)
    assert (died.returncode, died.stdout.split()) == (-signal.SIGKILL, ["0", "1", "2"])
    assert passing(None, code).returncode == 0
    assert passing("commit.before:6,format.put:6", code).returncode == 0


def test_other_signals_come_at_their_points_too() -> None:
    code = (
        "import signal\n"
        "from transcription_worker.fault_points import Point, reach\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('drained', flush=True))\n"
        "reach(Point.CLAIM_CREATED)\n"
        "reach(Point.DRAIN_BEGUN)\n"
    )
    died = passing("claim.created:1=SIGTERM,drain.begun:1=SIGKILL", code)
    assert (died.returncode, died.stdout.split()) == (-signal.SIGKILL, ["drained"])


@pytest.mark.parametrize("text", ["commit.before", "nowhere:1", "commit.before:1=SIGNOTHING", ""])
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        Fault.parse(text)


def test_a_fault_is_written_as_it_is_read() -> None:
    fault = Fault(Point.LEDGER_PUT, 2, signal.SIGTERM)
    assert Fault.parse(str(fault)) == fault
