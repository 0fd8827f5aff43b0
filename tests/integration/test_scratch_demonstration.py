"""The demonstration shows the leak, and that scratch has none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "demonstrate_leak.py"
ROUNDS = 2


def test_leaky_engines_leave_every_file_and_scratch_leaves_none() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--rounds", str(ROUNDS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if "while" in line]
    leaky = [line for line in rows if "Scratch" not in line]
    ours = [line for line in rows if "Scratch" in line]
    assert (len(leaky), len(ours)) == (8, 4)
    assert all(line.count(f"{ROUNDS} files") == 2 for line in leaky)
    assert all(line.endswith(" -") for line in ours)
