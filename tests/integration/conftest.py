from __future__ import annotations

import logging

import pytest


@pytest.fixture(autouse=True)
def log_is_heard() -> None:
    """NeMo's `transcribe()` leaves the level of its own log on every handler it finds, pytest's among them."""
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.NOTSET)
