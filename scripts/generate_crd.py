"""Write the CRD and its field reference from the models, or with --check say whether they are current."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from transcription_api.crd import render_crd
from transcription_api.names import CRD_NAME
from transcription_api.reference import render_reference

ROOT = Path(__file__).resolve().parent.parent


def generated_files() -> dict[Path, str]:
    """Every generated file with what it should contain."""
    return {
        ROOT / "crds" / f"{CRD_NAME}.yaml": render_crd(),
        ROOT / "docs" / "transcriptionjob.md": render_reference(),
    }


def stale_files() -> list[Path]:
    return [path for path, text in generated_files().items() if not path.is_file() or path.read_text("utf-8") != text]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is stale")
    check = parser.parse_args().check
    stale = stale_files()
    for path in stale:
        if not check:
            path.write_text(generated_files()[path], "utf-8")
        print(f"{path.relative_to(ROOT)}: {'stale; run python scripts/generate_crd.py' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
