"""How a line of the log looks, in every process that writes some."""

from __future__ import annotations

import logging
import sys

from transcription_worker.errors import printable

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
"""The operator tells a line of the log from a container's last words by its beginning."""


def log_to_stderr() -> None:
    logging.basicConfig(format=LOG_FORMAT, stream=sys.stderr)
    logging.getLogger().handlers[0].addFilter(_printable_only)


def _printable_only(record: logging.LogRecord) -> bool:
    """Keys are untrusted: none may speak to the terminal or forge a line of the log."""
    record.msg, record.args = printable(record.getMessage()), None
    return True
