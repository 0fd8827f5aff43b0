"""Write the CRD and its field reference from the models, or with --check say whether they are current."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.generated import ROOT, write_or_check
from transcription_api.crd import render_crd
from transcription_api.names import CRD_NAME
from transcription_api.reference import render_reference


def generated_files(root: Path) -> dict[Path, str]:
    """Every generated file with what it should contain."""
    return {
        root / "crds" / f"{CRD_NAME}.yaml": render_crd(),
        root / "docs" / "transcriptionjob.md": render_reference(),
    }


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Returns 1 where --check found a stale file."""
    return write_or_check(
        generated_files(root), root, arguments, command="python -m scripts.generate_crd", description=__doc__
    )


if __name__ == "__main__":
    sys.exit(main())
