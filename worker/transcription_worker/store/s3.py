"""Objects in an S3 bucket. How the client is made stands in `s3_client.py`, what its errors mean in `s3_errors.py`,
how large files are sent in `s3_multipart.py`.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from transcription_worker.errors import Reason, RecordingError, TranscriptionError
from transcription_worker.fault_points import Point, reach
from transcription_worker.store.probe import PROBES, WRITABLE, conditions_hold
from transcription_worker.store.protocol import Arrived, Condition, IfAbsent, IfMatch, ObjectInfo
from transcription_worker.store.s3_client import S3Client, make_client
from transcription_worker.store.s3_digest import DamagedBodyError, Digests
from transcription_worker.store.s3_errors import AWS_ERRORS, Action, Location, status_of, translate
from transcription_worker.store.s3_list import Listing, Page
from transcription_worker.store.s3_multipart import ANY_AGE, abort_stale, older_than, upload_in_parts
from transcription_worker.store.s3_read import Sink, VersionChangedError, read_body
from transcription_worker.store.settings import StoreSettings

logger = logging.getLogger(__name__)

_WRITE_ID = "write-id"
"""Metadata that tells a writer its own object from another's, when the answer to its conditional PUT was lost."""

_NEEDS_A_REASON = frozenset({400, 403})
"""Expired token, wrong clock, wrong secret, denied: all the same without their codes."""

MAX_KEY_BYTES = 1024
"""Amazon S3, "Naming objects"; other servers keep to it."""

_creation = threading.Lock()


def _renew_lock() -> None:
    global _creation
    _creation = threading.Lock()


# The lock may be held by a thread that does not exist in the child.
os.register_at_fork(after_in_child=_renew_lock)


class S3Store:
    """One bucket and prefix. Thread-safe; each process that uses it makes a client of its own."""

    def __init__(self, bucket: str, prefix: str, settings: StoreSettings) -> None:
        self.uri = f"s3://{bucket}/{prefix}".removesuffix("/")
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix and not prefix.endswith("/") else prefix
        self.settings = settings
        self._digests = Digests()
        self._client: S3Client | None = None
        self._credentials: Credentials | None = None
        self._process: int | None = None

    def check(self, *, write: bool) -> None:
        with self._translated(Action.LIST):
            self._s3().list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1)
        if write:
            key = self._full(WRITABLE)
            with self._translated(Action.WRITE):
                self._s3().put_object(Bucket=self.bucket, Key=key, Body=b"", **self._encryption())
            reach(Point.PROBE_WRITTEN)
            with self._translated(Action.DELETE):
                self._s3().delete_object(Bucket=self.bucket, Key=key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self._entries(lambda: self._listing(prefix).pages())

    def scan(self) -> Iterator[ObjectInfo]:
        return self._entries(lambda: self._listing("").scattered_pages())

    def _listing(self, prefix: str) -> Listing:
        return Listing(self._s3(), self.bucket, self._full(prefix), self.uri)

    def _entries(self, pages: Callable[[], Iterator[Page]]) -> Iterator[ObjectInfo]:
        with self._translated(Action.LIST):
            for page in pages():
                for entry in page.get("Contents", ()):
                    key = entry["Key"].removeprefix(self.prefix)
                    # The empty object that consoles make for a folder, here the location itself.
                    if key:
                        when = entry.get("LastModified")
                        modified = when.timestamp() if when else 0.0
                        yield ObjectInfo(key, _bare(entry["ETag"]), entry["Size"], modified=modified)

    def head(self, key: str) -> ObjectInfo | None:
        try:
            with self._translated(Action.READ, key):
                found = self._head(key)
        except RecordingError as error:
            if error.reason is Reason.NOT_FOUND:
                return None
            raise
        metadata = {name: value for name, value in found["Metadata"].items() if name != _WRITE_ID}
        return ObjectInfo(key, _bare(found["ETag"]), found["ContentLength"], metadata)

    def get(self, key: str) -> bytes:
        body = io.BytesIO()
        self._read(key, None, body)
        return body.getvalue()

    def fetch(self, key: str, etag: str, target: Path, arrived: Arrived | None = None) -> None:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # Buffered: write(2) on a disk that fills up takes a part and says nothing, which only a buffer looks at.
            with os.fdopen(descriptor, "wb") as file:
                self._read(key, etag, file, arrived)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise RecordingError(
                Reason.NO_SPACE, f"No space left in {target.parent} for {self._location().of(self._full(key))}."
            ) from error

    def local_path(self, key: str) -> Path | None:
        return None

    def put(
        self,
        key: str,
        body: bytes | Path,
        *,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        condition: Condition = None,
    ) -> str:
        write_id = uuid.uuid4().hex
        described = {
            "ContentType": content_type,
            "Metadata": {**(metadata or {}), **({_WRITE_ID: write_id} if condition else {})},
        }
        try:
            with self._translated(Action.WRITE, key):
                return _bare(self._send(key, body, described, _headers(condition)))
        except TranscriptionError as error:
            if condition and _may_have_landed(error.__cause__) and (etag := self._etag_if_mine(key, write_id)):
                return etag
            raise

    def delete(self, key: str) -> None:
        with self._translated(Action.DELETE, key):
            self._s3().delete_object(**self._address(key))

    def supports_conditions(self) -> bool:
        return conditions_hold(self)

    def abort_stale_uploads(self, older_than_seconds: float) -> int:
        removed = 0
        try:
            with self._translated(Action.LIST):
                removed += self._delete_stale_probes(older_than_seconds)
                removed += abort_stale(self._s3(), self.bucket, self.prefix, older_than_seconds)
        except TranscriptionError as error:
            logger.warning("Left-overs in %s could not be removed: %s", self.uri, error)
        return removed

    def abort_uploads_of(self, prefix: str) -> int:
        try:
            with self._translated(Action.LIST):
                return abort_stale(self._s3(), self.bucket, self.prefix, ANY_AGE, self._full(prefix))
        except TranscriptionError as error:
            logger.warning("Unfinished uploads in %s could not be aborted: %s", self.uri, error)
            return 0

    def _send(self, key: str, body: bytes | Path, described: dict[str, Any], condition: dict[str, str]) -> str:
        address, encryption = self._address(key), self._encryption()
        if isinstance(body, bytes):
            return str(self._s3().put_object(Body=body, **address, **described, **encryption, **condition)["ETag"])
        with body.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= self.settings.multipart_threshold:
                return str(self._s3().put_object(Body=file, **address, **described, **encryption, **condition)["ETag"])
            # Parts carry checksums only where the upload was begun with an algorithm (boto3's own default one).
            by_parts = {"ChecksumAlgorithm": "CRC32"} if self.settings.checksums == "when_supported" else {}
            return upload_in_parts(
                self._s3(),
                file,
                size,
                part_size=self.settings.part_size,
                prefix=self.prefix,
                address=address,
                described={**described, **by_parts},
                encryption=encryption,
                condition=condition,
            )

    def _read(self, key: str, etag: str | None, sink: Sink, arrived: Arrived | None = None) -> None:
        address = self._address(key)
        try:
            with self._translated(Action.READ, key):
                read_body(self._s3(), address, etag, sink, self._digests, arrived)
        except VersionChangedError as error:
            raise RecordingError(
                Reason.CHANGED,
                f"{self._location().of(address['Key'])} is no longer the version that was listed; run the job again.",
            ) from error
        except DamagedBodyError as error:
            raise RecordingError(
                Reason.STORE_ERROR,
                f"{self._location().of(address['Key'])} arrived damaged each time ({error}); check what stands between "
                f"this machine and {self._location().endpoint}, and the object itself.",
            ) from error

    def _head(self, key: str) -> dict[str, Any]:
        """An answer to HEAD has no body (RFC 9110 section 9.3.2) to say why it refuses: the one to GET has."""
        address = self._address(key)
        try:
            return dict(self._s3().head_object(**address))
        except ClientError as error:
            if status_of(error) not in _NEEDS_A_REASON:
                raise
        try:
            self._s3().get_object(**address, Range="bytes=0-0")["Body"].close()
        except ClientError as error:
            if status_of(error) != 416:  # nothing in it, and allowed
                raise
        return dict(self._s3().head_object(**address))

    def _etag_if_mine(self, key: str, write_id: str) -> str | None:
        with self._translated(Action.READ, key):
            found = self._head(key)
        return _bare(found["ETag"]) if found["Metadata"].get(_WRITE_ID) == write_id else None

    def _delete_stale_probes(self, older_than_seconds: float) -> int:
        removed = 0
        for key, _ in older_than(self._s3(), self.bucket, self._full(PROBES), older_than_seconds):
            self._s3().delete_object(Bucket=self.bucket, Key=key)
            removed += 1
        return removed

    def _s3(self) -> S3Client:
        if self._client is None or self._process != os.getpid():
            with _creation:
                if self._client is None or self._process != os.getpid():
                    self._client, self._credentials = make_client(self.settings)
                    self._process = os.getpid()
        return self._client

    @contextlib.contextmanager
    def _translated(self, action: Action, key: str | None = None) -> Iterator[None]:
        try:
            yield
        except AWS_ERRORS as error:
            full_key = None if key is None else self._full(key)
            raise translate(error, self._location(), action, full_key) from error

    def _location(self) -> Location:
        access_key = None
        if self._credentials is not None:
            # What renews expired credentials on access may fail too, and is not what is to be told here.
            with contextlib.suppress(Exception):
                access_key = self._credentials.access_key
        endpoint = self._client.meta.endpoint_url if self._client else self.settings.endpoint_url or "AWS"
        return Location(self.uri, self.bucket, endpoint, access_key, self.settings.kms_key_id)

    def _encryption(self) -> dict[str, Any]:
        if self.settings.encryption_type is None:
            return {}
        key = {"SSEKMSKeyId": self.settings.kms_key_id} if self.settings.kms_key_id else {}
        return {"ServerSideEncryption": self.settings.encryption_type, **key}

    def _full(self, key: str) -> str:
        return self.prefix + key

    def _address(self, key: str) -> dict[str, str]:
        """Raises RecordingError for what no server takes for a key: better than to find out when the work is done."""
        full_key = self._full(key)
        if len(full_key.encode(errors="surrogatepass")) > MAX_KEY_BYTES or not _is_text(full_key):
            raise RecordingError(
                Reason.STORE_ERROR,
                f"{self._location().of(full_key)} cannot be an object: a key has at most {MAX_KEY_BYTES:,} bytes of "
                "UTF-8; give the recording a shorter name, or the output a shorter prefix.",
                retryable=False,
            )
        return {"Bucket": self.bucket, "Key": full_key}


def _is_text(key: str) -> bool:
    """Half a surrogate pair, as JSON can spell it, is no character."""
    return not any("\ud800" <= character <= "\udfff" for character in key)


def _bare(etag: str) -> str:
    return etag.strip('"')


def _headers(condition: Condition) -> dict[str, str]:
    match condition:
        case IfAbsent():
            return {"IfNoneMatch": "*"}
        case IfMatch(etag):
            return {"IfMatch": f'"{etag}"'}
        case None:
            return {}


def _may_have_landed(error: BaseException | None) -> bool:
    """Whether a refused conditional write may be this writer's own, whose answer was lost before it was sent again."""
    if not isinstance(error, ClientError):
        return False
    refused = status_of(error) == 412 or error.response.get("Error", {}).get("Code") == "NoSuchUpload"
    return bool(refused and error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0)
