"""What pods, workers and the API server said. Anyone may say anything: what is no number counts as none, and text
becomes one line that is not too long and that any store takes."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_MESSAGE = 1024
"""The longest message of an event (core/v1), and of a failure in the status."""
MAX_CONDITION = 4096

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


def text(value: object, limit: int = MAX_MESSAGE) -> str:
    """One line of at most `limit` characters, without control characters and halves of surrogate pairs."""
    if not isinstance(value, str):
        return ""
    line = re.sub(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+", " ", value).strip()
    line = line.encode(errors="replace").decode()
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def json_object(message: str | bytes) -> dict[str, Any] | None:
    """None where it is no JSON object."""
    try:
        value = json.loads(message)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
