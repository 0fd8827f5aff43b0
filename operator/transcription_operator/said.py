"""Figures that a pod left. A worker is the user's image and may say anything: what is no number counts as none."""

from __future__ import annotations

from typing import Any

LARGEST = 10**15
"""More than any job has of anything; the API server takes no number that JSON or 64 bits cannot hold."""


def count(said: dict[str, Any], name: str) -> int:
    value = said.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST else 0


def number(said: dict[str, Any], name: str) -> float | None:
    """None where it is not said; never infinite, never NaN."""
    value = said.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < LARGEST:
        return None
    return float(value)
