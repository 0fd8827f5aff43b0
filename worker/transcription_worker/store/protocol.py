"""What the worker needs of a place where objects live. `s3.py` and `local.py` implement it.

A store is bound to one location (bucket and prefix, or directory); keys are relative to it, `/`-separated.
All methods are thread-safe. Errors that people must mend are `ConfigurationError`, those of one object
`RecordingError` (NotFound, AccessDenied, Changed, StoreError), a lost conditional write `PreconditionFailed`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object. `size` in bytes; `etag` without quotes; `metadata` is filled by `head` only. `modified`, by `list`:
    when it was written, in seconds by the store's clock; 0 where the store does not say."""

    key: str
    etag: str
    size: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    modified: float = 0.0


@dataclass(frozen=True, slots=True)
class IfAbsent:
    """Write only where no object has this key (RFC 9110 section 13.1.2, `If-None-Match: *`)."""


@dataclass(frozen=True, slots=True)
class IfMatch:
    """Write only over this version (RFC 9110 section 13.1.1, `If-Match`)."""

    etag: str


Condition = IfAbsent | IfMatch | None

Arrived = Callable[[int], None]
"""Takes the number of bytes that have just been written."""


class Store(Protocol):
    """Objects below one URI."""

    uri: str
    """The location as the user wrote it, without a trailing slash."""

    def check(self, *, write: bool) -> None:
        """Prove access before any work: list, and where `write`, put and delete a probe object.

        Raises:
            ConfigurationError: wrong secret, missing bucket, denied prefix, untrusted certificate: one sentence.
            RetryableError: the store does not answer, for it may be back soon.
        """

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object whose key starts with `prefix`, in the order of the keys' UTF-8 bytes, streamed page by page.

        Raises:
            ConfigurationError, RetryableError: it could not be listed to its end.
        """

    def scan(self) -> Iterator[ObjectInfo]:
        """Every object, in any order, over as many connections as help.

        Raises:
            ConfigurationError, RetryableError: as `list`.
        """

    def head(self, key: str) -> ObjectInfo | None:
        """Size, ETag and metadata of an object; None where there is none."""

    def get(self, key: str) -> bytes:
        """The whole body of a small object. Raises RecordingError(NotFound) where there is none."""

    def fetch(self, key: str, etag: str, target: Path, arrived: Arrived | None = None) -> None:
        """Stream exactly this version into `target`, a path that does not exist yet and that the caller cleans.

        Args:
            arrived: called after each chunk; what it raises ends the fetch and passes through.

        Raises:
            RecordingError: NotFound, AccessDenied, Changed (another version is there now), NoSpace, StoreError.
        """

    def local_path(self, key: str) -> Path | None:
        """The file itself where the store is a directory (no fetch needed), else None."""

    def put(
        self,
        key: str,
        body: bytes | Path,
        *,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        condition: Condition = None,
    ) -> str:
        """Write one whole object, or nothing; returns its ETag. Metadata keys and values are ASCII.

        Raises:
            PreconditionFailed: the condition does not hold.
        """

    def delete(self, key: str) -> None:
        """Remove an object; no error where there is none."""

    def supports_conditions(self) -> bool:
        """Probe with real writes, alone and racing, whether If-None-Match and If-Match are honoured."""

    def abort_stale_uploads(self, older_than_seconds: float) -> int:
        """Remove what killed processes left below the location, where it is older than that; returns how much.

        That is: multipart uploads of this tool (of no one else), probe objects, a directory's pending file. What
        cannot be removed is logged and left to the next call.
        """

    def abort_uploads_of(self, prefix: str) -> int:
        """Abort this tool's unfinished uploads to keys below a prefix, however young; returns how many.

        For whoever takes over from a dead writer and is the only one who writes there. What cannot be aborted is logged
        and left to `abort_stale_uploads`.
        """
