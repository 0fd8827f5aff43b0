"""Write the CRD and its field reference from the models, or with --check say whether they are current."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from transcription_api.crd import render_crd
from transcription_api.names import CRD_NAME
from transcription_api.reference import render_reference

ROOT = Path(__file__).resolve().parent.parent


def generated_files(root: Path) -> dict[Path, str]:
    """Every generated file with what it should contain."""
    return {
        root / "crds" / f"{CRD_NAME}.yaml": render_crd(),
        root / "docs" / "transcriptionjob.md": render_reference(),
    }


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Returns 1 where --check found a stale file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is stale")
    check = parser.parse_args(arguments).check
    stale = 0
    for path, text in generated_files(root).items():
        if path.is_file() and path.read_text("utf-8") == text:
            continue
        stale += 1
        if not check:
            path.write_text(text, "utf-8")
        print(f"{path.relative_to(root)}: {'stale; run python scripts/generate_crd.py' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
