"""The command line of every generator: write the files that it makes, or with --check say which are stale.

What is in them is the generators' (`generate_crd.py`, `generate_chart.py`).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def write_or_check(
    files: Mapping[Path, str], root: Path, arguments: Sequence[str] | None, *, command: str, description: str | None
) -> int:
    """Bring the files up to date and name those that changed.

    Args:
        files: path to the text that it should have; all below `root`.
        command: what makes them current, for whoever reads that one is stale.

    Returns:
        1 where --check found a stale file, else 0.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is stale")
    check = parser.parse_args(arguments).check
    stale = [path for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in stale:
        if not check:
            path.write_text(files[path], "utf-8")
        print(f"{path.relative_to(root)}: {f'stale; run {command}' if check else 'written'}")
    return int(check and bool(stale))
