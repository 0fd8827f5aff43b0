"""docs/values.md, made from values.yaml: every value with its default and the comment above it.

A line `## Title` starts a section. The comment lines directly above a key are its documentation. A key is listed as one
value where nothing below it is documented; otherwise its children are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

_INTRODUCTION = """\
# Values of the Helm chart

<!-- Generated from charts/transcription-operator/values.yaml by scripts/generate_chart.py: change that, not this. -->

Anything else is refused: a typing error never passes for a setting. How to install: [helm.md](helm.md).
"""
_TABLE = "| Value | Default | Meaning |\n|---|---|---|"


class UndocumentedError(Exception):
    """A value has no comment above it; the message names it."""


@dataclass(frozen=True, slots=True)
class Value:
    """One line of the reference."""

    path: tuple[str, ...]
    default: Any
    meaning: str


def render_values(text: str) -> str:
    """The whole page.

    Raises:
        UndocumentedError: a value has no comment.
    """
    lines = [_INTRODUCTION]
    for title, values in read_sections(text):
        rows = [f"| `{'.'.join(v.path)}` | `{_default(v.default)}` | {_cell(v.meaning)} |" for v in values]
        lines += [f"## {title}\n", _TABLE, *rows, ""]
    return "\n".join(lines)


def read_sections(text: str) -> list[tuple[str, list[Value]]]:
    """Sections of values.yaml with their values, in order."""
    comments, titles = _read_comments(text)
    sections: list[tuple[str, list[Value]]] = []
    for key, default in yaml.safe_load(text).items():
        if (title := titles.get(key)) is not None:
            sections.append((title, []))
        sections[-1][1].extend(_values((key,), default, comments))
    return sections


def _values(path: tuple[str, ...], default: Any, comments: dict[tuple[str, ...], str]) -> Iterator[Value]:
    if any(len(other) > len(path) and other[: len(path)] == path for other in comments):
        for key, child in default.items():
            yield from _values((*path, key), child, comments)
    elif path in comments:
        yield Value(path, default, comments[path])
    else:
        raise UndocumentedError(f"values.yaml: {'.'.join(path)} has no comment above it")


def _read_comments(text: str) -> tuple[dict[tuple[str, ...], str], dict[str, str]]:
    """Comments by path, and titles of sections by the first key below them."""
    comments: dict[tuple[str, ...], str] = {}
    titles: dict[str, str] = {}
    above: list[str] = []
    title: str | None = None
    path: list[tuple[int, str]] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("## "):
            title = stripped.removeprefix("## ")
        elif stripped.startswith("#"):
            above.append(stripped.removeprefix("#").strip())
        elif not stripped:
            above = []
        else:
            indent = len(line) - len(line.lstrip())
            path = [*((i, key) for i, key in path if i < indent), (indent, stripped.partition(":")[0])]
            keys = tuple(key for _, key in path)
            if above:
                comments[keys] = " ".join(above)
            if title is not None:
                titles[keys[0]] = title
            above, title = [], None
    return comments, titles


def _default(value: Any) -> str:
    return json.dumps(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
