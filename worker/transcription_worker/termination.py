"""What a container leaves for `kubectl describe` and the operator: its termination message (core/v1 Container).

One sentence where it failed, one JSON object where it did not. The kubelet takes the file up when the container ends,
and keeps 4,096 bytes of it. Outside a pod nothing is written.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from transcription_worker.places import TERMINATION_LOG_VARIABLE

log = logging.getLogger(__name__)

MAX_BYTES = 2048
"""The kubelet keeps 4,096 of one container, and less where sidecars share the 12 KiB of a pod."""
TERMINATION_LOG = "/dev/termination-log"
"""terminationMessagePath, as Kubernetes has it by default; the kubelet makes the file."""


def leave_sentence(sentence: str) -> None:
    """Leave why the container ends; what is too long is cut between characters."""
    _leave(sentence.strip().encode(errors="replace")[:MAX_BYTES].decode(errors="ignore"))


def leave_summary(fields: Mapping[str, object]) -> None:
    """Leave what came of it, as much as fits of fields in the order of their worth."""
    _leave(fitting_json(fields))


def fitting_json(fields: Mapping[str, object], limit: int = MAX_BYTES) -> str:
    """One line of JSON of at most `limit` bytes of UTF-8, whole whatever the fields hold.

    What is too much goes from the end: the items of a list one by one, then whole fields.
    """
    kept = {name: list(value) if isinstance(value, list) else value for name, value in fields.items()}
    while len(text := _utf8_json(kept)) > limit and kept:
        last = next(reversed(kept))
        items = kept[last]
        if isinstance(items, list) and items:
            items.pop()
        else:
            kept.pop(last)
    return text.decode()


def _utf8_json(fields: Mapping[str, object]) -> bytes:
    """Keys of S3 are UTF-8; the names of local files may be none, and then carry a question mark."""
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def _leave(text: str) -> None:
    path = Path(os.environ.get(TERMINATION_LOG_VARIABLE) or TERMINATION_LOG)
    if not os.environ.get("KUBERNETES_SERVICE_HOST"):
        return
    try:
        with path.open("r+b") as file:  # never made here: what the kubelet did not make, it does not read
            file.truncate()
            file.write(text.encode())
    except OSError as error:
        log.debug("no termination message at %s: %s", path, error.strerror)
