"""Whether a body arrived as it was stored: its MD5 against its ETag, where the ETag is one.

S3 says that the ETag of an object sent by one PUT, and not encrypted by KMS or with a customer's key, is the MD5 of its
body (API reference, "Object": ETag); most compatible stores do the same, some make up 32 hexadecimal digits of another
kind. So a location's ETags count as MD5s from the first body that agrees with its own, and no more from the first one
that came the same three times and did not. This is against accidents on the way; against people there is TLS.
"""

from __future__ import annotations

import hashlib
import re
import threading
from typing import Any

_MD5 = re.compile(r"[0-9a-f]{32}")


_SAME_TIMES = 3
"""A body that came so often, always the same, is what is stored, whatever its ETag is."""


class DamagedBodyError(Exception):
    """What came is not what was stored."""


class Digests:
    """What is known of the ETags of one location. Thread-safe."""

    def __init__(self) -> None:
        self._are_md5: bool | None = None
        self._lock = threading.Lock()

    def start(self, answer: dict[str, Any]) -> hashlib._Hash | None:
        """A digest for the body of this answer to GetObject; None where its ETag says nothing about it."""
        encrypted = answer.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in answer
        if encrypted or self._are_md5 is False or not _MD5.fullmatch(answer["ETag"].strip('"')):
            return None
        return hashlib.md5(usedforsecurity=False)

    def agree(self, etag: str, found: str, times: int) -> bool:
        """Whether a body that came with the MD5 `found`, so many times in a row, may be taken for that of this ETag."""
        with self._lock:
            if found == etag:
                self._are_md5 = True
            elif self._are_md5 is None and times >= _SAME_TIMES:
                self._are_md5 = False
            return found == etag or self._are_md5 is False
