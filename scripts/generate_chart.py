"""Write what the chart has from elsewhere, or with --check say whether it is current.

charts/transcription-operator/templates/crd.yaml from crds/, and docs/values.md from the comments in values.yaml.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.generated import ROOT, write_or_check
from scripts.values_reference import render_values
from transcription_api.crd import render_crd

CHART = Path("charts/transcription-operator")

_CRD_HEAD = """\
{{- /* Generated from crds/transcription_api by scripts/generate_chart.py: change the models, not this file. */}}
{{- if .Values.crds.enabled }}
"""
_CRD_METADATA = """\
  labels:
    {{- include "operator.labels" (list . "api") | nindent 4 }}
  {{- $policy := ternary (dict "helm.sh/resource-policy" "keep") dict .Values.crds.keep }}
  {{- include "operator.annotations" (list . $policy) }}
"""


def crd_template(crd: str) -> str:
    """The definition as a template: behind crds.enabled, with the chart's labels and annotations."""
    lines = [line for line in crd.replace("{{", "{{`{{`}}").splitlines(keepends=True) if not line.startswith("#")]
    spec = lines.index("spec:\n")
    return _CRD_HEAD + "".join(lines[:spec]) + _CRD_METADATA + "".join(lines[spec:]) + "{{- end }}\n"


def generated_files(root: Path) -> dict[Path, str]:
    """Every generated file with what it should contain."""
    return {
        root / CHART / "templates" / "crd.yaml": crd_template(render_crd()),
        root / "docs" / "values.md": render_values((root / CHART / "values.yaml").read_text("utf-8")),
    }


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Returns 1 where --check found a stale file."""
    return write_or_check(
        generated_files(root), root, arguments, command="python -m scripts.generate_chart", description=__doc__
    )


if __name__ == "__main__":
    sys.exit(main())
