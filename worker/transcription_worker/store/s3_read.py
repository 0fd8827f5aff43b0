"""The body of one version of an object, over as many connections as it takes."""

from __future__ import annotations

import contextlib
import random
import time
from typing import Any, Protocol

from botocore.exceptions import FlexibleChecksumError, IncompleteReadError

from transcription_worker.store.protocol import Arrived
from transcription_worker.store.s3_client import S3Client
from transcription_worker.store.s3_digest import DamagedBodyError, Digests
from transcription_worker.store.s3_errors import BROKEN_BODY
from transcription_worker.store.settings import MIB

_CHUNK = MIB
_FRUITLESS_READS = 5
"""So many connections in a row that break before they brought a chunk end the reading."""
_DAMAGED_READS = 4
"""So often a body may come whole and damaged: then what is stored is, or what stands between."""


class Sink(Protocol):
    """What a binary file and BytesIO have in common."""

    def write(self, data: bytes, /) -> object: ...
    def seek(self, offset: int, /) -> object: ...
    def truncate(self, size: int, /) -> object: ...


class VersionChangedError(Exception):
    """The store answered with another version than the one asked for."""


def read_body(
    client: S3Client,
    address: dict[str, Any],
    etag: str | None,
    sink: Sink,
    digests: Digests,
    arrived: Arrived | None = None,
) -> None:
    """Write the whole body to `sink`; a broken connection is taken up at the byte where it broke, a damaged body is
    read again.

    Args:
        address: Bucket and Key.
        etag: the version, without quotes; None for whichever is there at first.
        arrived: told of each chunk; what it raises ends the reading.

    Raises:
        VersionChangedError: the store passed over If-Match.
        botocore.exceptions.ClientError: its answer, 412 for another version.
        BROKEN_BODY: it broke too often.
        DamagedBodyError: it never came as it was stored.
    """
    received = fruitless = damaged = times = 0
    digest, body_digest = None, ""
    while True:
        conditions: dict[str, Any] = {"Range": f"bytes={received}-"} if received else {}
        if etag is not None:
            conditions["IfMatch"] = f'"{etag}"'
        answer = client.get_object(**address, **conditions)
        found = answer["ETag"].strip('"')
        if etag is not None and found != etag:
            raise VersionChangedError
        etag = found
        if received and answer["ResponseMetadata"]["HTTPStatusCode"] != 206:
            received = _restart(sink)
        if received == 0:
            digest = digests.start(answer)
        started, whole = received, received + answer["ContentLength"]
        try:
            with contextlib.closing(answer["Body"]) as body:
                for chunk in body.iter_chunks(_CHUNK):
                    sink.write(chunk)
                    received += len(chunk)
                    if digest:
                        digest.update(chunk)
                    if arrived:
                        arrived(len(chunk))
            if received != whole:
                raise IncompleteReadError(actual_bytes=received, expected_bytes=whole)
            if digest is None:
                return
            times = times + 1 if digest.hexdigest() == body_digest else 1
            body_digest = digest.hexdigest()
            if digests.agree(etag, body_digest, times):
                return
            raise DamagedBodyError(f"its MD5 is {body_digest}, and its ETag {etag}")
        except (*BROKEN_BODY, DamagedBodyError) as error:
            if isinstance(error, DamagedBodyError | FlexibleChecksumError):
                received = _restart(sink)
                damaged += 1
            else:
                fruitless = 0 if received - started >= _CHUNK else fruitless + 1
            if fruitless == _FRUITLESS_READS or damaged == _DAMAGED_READS:
                raise
            time.sleep(random.uniform(0, 0.1 * 2 ** (fruitless + damaged)))  # noqa: S311


def _restart(sink: Sink) -> int:
    sink.seek(0)
    sink.truncate(0)
    return 0
