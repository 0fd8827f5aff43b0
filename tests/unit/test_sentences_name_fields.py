"""What a sentence tells the user to change is named from the root, `spec.model.uri`, as in manifests and in kubectl."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs import REPOSITORY
from transcription_api.fields import known_fields
from transcription_api.job import TranscriptionJob

PATHS = {path for places in known_fields(TranscriptionJob).values() for path in places if path.startswith("spec.")}
ROOTS = "|".join(sorted({path.split(".")[1] for path in PATHS}))
SHORT = re.compile(rf"(?<![\w.`])(?:{ROOTS})(?:\.[A-Za-z]+)+")
FILES = sorted(
    path
    for part in ("worker/transcription_worker", "operator/transcription_operator")
    for path in (REPOSITORY / part).rglob("*.py")
)


def short_names(text: str) -> list[str]:
    return [found for found in SHORT.findall(text) if f"spec.{found}" in PATHS]


def sentences(tree: ast.AST) -> Iterator[str]:
    """Every text in the code but those that stand alone as statements: docstrings."""
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def test_a_short_name_would_be_found() -> None:
    assert short_names("correct model.uri, or set spec.workers.gpus; scratch.made") == ["model.uri"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_fields_are_named_from_the_root(path: Path) -> None:
    assert [name for text in sentences(ast.parse(path.read_text())) for name in short_names(text)] == []
