"""The wall clock as RFC 3339 text."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> str:
    """Now, such as `2026-01-31T12:00:00Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
