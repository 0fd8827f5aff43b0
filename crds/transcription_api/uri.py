"""Where recordings, transcripts and models lie: `s3://bucket/key`, or a path where a job runs without a cluster.

Only the grammar: whether a bucket exists is the store's business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

BUCKET_PATTERN = "[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]"
"""3 to 63 characters. Upper case and `_` are more than AWS allows today; Ceph and old AWS buckets have them."""
MAX_KEY_BYTES = 1024
"""The longest key that S3 stores (UTF-8 bytes)."""

_S3 = re.compile(rf"s3://({BUCKET_PATTERN})(?:/(.*))?", re.DOTALL)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class UriError(ValueError):
    """Not a location that a job can use. `problem` says why, `mend` what to write instead."""

    def __init__(self, problem: str, mend: str) -> None:
        super().__init__(f"{problem}; {mend}")
        self.problem = problem
        self.mend = mend


@dataclass(frozen=True, slots=True)
class S3Uri:
    """`key` as it was written, without a leading slash; "" for the whole bucket."""

    bucket: str
    key: str

    @property
    def prefix(self) -> str:
        """The key read as a folder: "" or ending with exactly the slash that keeps `2026/1` from meaning `2026/11`."""
        return self.key if not self.key or self.key.endswith("/") else f"{self.key}/"

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class LocalUri:
    """A file or directory of this machine; relative paths are relative to the working directory."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


Location = S3Uri | LocalUri


def parse_uri(text: str, *, local: bool) -> Location:
    """Read a folder's location.

    Args:
        text: `s3://bucket/prefix`, and where `local` also `file:///path` (RFC 8089) or a plain path.
        local: whether the job runs on this machine, outside a cluster.

    Raises:
        UriError: not such a location.
    """
    if _CONTROL.search(text):
        raise UriError(f"{text!r} contains a control character", "write the URI on one line, without tabs")
    if text.startswith("s3://"):
        return _parse_s3(text)
    scheme = _SCHEME.match(text)
    if scheme is not None and scheme[1].lower() == "s3":
        bucket_and_key = text[scheme.end() :].lstrip("/")
        raise UriError(f"{text!r} is not an S3 URI", f"write s3://{bucket_and_key}")
    if scheme is not None and scheme[1].lower() != "file":
        raise UriError(
            f"{scheme[1]}:// is not supported",
            "write s3://bucket/prefix and give another server as storage.endpointUrl",
        )
    if not local:
        raise UriError(
            f"{text!r} is not an S3 URI", "write s3://bucket/prefix; paths work with `transcription run` only"
        )
    return _parse_path(text, is_url=scheme is not None)


def parse_object_uri(text: str, *, local: bool) -> Location:
    """Read the location of one object or file (a manifest, a model); raises UriError as `parse_uri` does."""
    location = parse_uri(text, local=local)
    if isinstance(location, S3Uri) and (not location.key or location.key.endswith("/")):
        raise UriError(f"{text!r} names no object", "write the whole key, such as s3://bucket/folder/name.ext")
    return location


def _parse_s3(text: str) -> S3Uri:
    parts = _S3.fullmatch(text)
    if parts is None:
        raise UriError(
            f"{text!r} has no valid bucket name",
            "write s3://bucket/prefix with a bucket of 3 to 63 letters, digits, dots and hyphens",
        )
    key = parts[2] or ""
    if key.startswith("/"):
        raise UriError(f"{text!r} has a doubled slash", f"write s3://{parts[1]}/{key.lstrip('/')}")
    if len(key.encode()) > MAX_KEY_BYTES:
        raise UriError(f"the key has more than {MAX_KEY_BYTES} bytes", "shorten the prefix")
    return S3Uri(parts[1], key)


def _parse_path(text: str, *, is_url: bool) -> LocalUri:
    if not is_url:
        if not text:
            raise UriError("the location is empty", "write s3://bucket/prefix or a path")
        return LocalUri(Path(text).expanduser())
    url = urlsplit(text)
    if url.netloc not in ("", "localhost") or not url.path.startswith("/"):
        raise UriError(f"{text!r} names another machine", "write file:///path with three slashes, or just the path")
    return LocalUri(Path(unquote(url.path)))
