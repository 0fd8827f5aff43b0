"""Files too large for one PUT, sent in parts, and the clean-up after a process that died while it sent them.

S3 keeps the parts of an unfinished upload, unseen and paid for, until someone aborts it, and does not say who began
it. So a small note with the target's key is written before an upload begins and removed after it ended; an old note
leads the sweep to this tool's uploads, and to no one else's in the same bucket.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO
from urllib.parse import unquote_plus

from transcription_worker.fault_points import Point, reach
from transcription_worker.layout import JOBS_PREFIX
from transcription_worker.store.s3_client import S3Client
from transcription_worker.store.s3_errors import AWS_ERRORS

logger = logging.getLogger(__name__)

NOTES = f"{JOBS_PREFIX}.upload-"
_MOST_PARTS = 10_000

ANY_AGE = -3600.0
"""Seconds: also what begins while the server looks, and what a clock that was set back has stamped."""


def upload_in_parts(
    client: S3Client,
    file: BinaryIO,
    size: int,
    *,
    part_size: int,
    prefix: str,
    address: dict[str, Any],
    described: dict[str, Any],
    encryption: dict[str, Any],
    condition: dict[str, Any],
) -> str:
    """Send `file` of `size` bytes as one object; returns its quoted ETag. After an error nothing of it is left.

    Args:
        prefix: full prefix of the location that the note is written to.
        address: Bucket and Key.
        described: content type, metadata, checksum algorithm; with `encryption` sent when the upload begins.
        condition: IfMatch or IfNoneMatch, decided by S3 when the upload is completed.
    """
    part_size = max(part_size, -(-size // _MOST_PARTS))
    bucket, key = address["Bucket"], address["Key"]
    note = f"{prefix}{NOTES}{uuid.uuid4().hex}"
    client.put_object(Bucket=bucket, Key=note, Body=key.encode(), **encryption)
    reach(Point.UPLOAD_NOTED)
    upload: str | None = None
    begun_once = completed = False
    try:
        begun = client.create_multipart_upload(**address, **described, **encryption)
        upload = begun["UploadId"]
        reach(Point.UPLOAD_BEGUN)
        # A request that was sent again may have begun a second upload, to which only the note leads.
        begun_once = begun["ResponseMetadata"]["RetryAttempts"] == 0
        parts: list[dict[str, Any]] = []
        while part := file.read(part_size):
            number = len(parts) + 1
            sent = client.upload_part(**address, UploadId=upload, PartNumber=number, Body=part)
            # S3 wants the checksums of the parts, where they have any, repeated at the end.
            checksums = {name: value for name, value in sent.items() if name.startswith("Checksum")}
            parts.append({"PartNumber": number, "ETag": sent["ETag"], **checksums})
            reach(Point.UPLOAD_PART)
        finished = client.complete_multipart_upload(
            **address, UploadId=upload, MultipartUpload={"Parts": parts}, **condition
        )
        completed = True
        reach(Point.UPLOAD_COMPLETED)
        return str(finished["ETag"])
    finally:
        ended = completed or _abort(client, bucket, key, upload)
        if ended and begun_once:
            _delete(client, bucket, note)


def abort_stale(client: S3Client, bucket: str, prefix: str, older_than_seconds: float, target: str = "") -> int:
    """Abort the uploads that notes below `prefix` lead to; returns how many.

    Args:
        older_than_seconds: of notes and uploads, by the server's clock; ANY_AGE takes all.
        target: only uploads to keys that start so, in full.
    """
    aborted = 0
    for note, cutoff in older_than(client, bucket, prefix + NOTES, older_than_seconds):
        key = client.get_object(Bucket=bucket, Key=note)["Body"].read().decode()
        if not key.startswith(target):
            continue
        pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=key, EncodingType="url")
        uploads = [
            upload for page in pages for upload in page.get("Uploads", ()) if _decoded(upload["Key"], page) == key
        ]
        # A younger one may be at work, or have begun long after its note: the note stays until it is old too.
        gone = [upload["Initiated"] <= cutoff and _abort(client, bucket, key, upload["UploadId"]) for upload in uploads]
        aborted += sum(gone)
        if all(gone):
            _delete(client, bucket, note)
    return aborted


def older_than(client: S3Client, bucket: str, prefix: str, seconds: float) -> Iterator[tuple[str, datetime]]:
    """Keys of objects that old, each with the time before which things are stale, both by the server's clock."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        date = page["ResponseMetadata"]["HTTPHeaders"].get("date")
        now = parsedate_to_datetime(date) if date else datetime.now(UTC)
        cutoff = now - timedelta(seconds=seconds)
        for entry in page.get("Contents", ()):
            if entry["LastModified"] <= cutoff:
                yield entry["Key"], cutoff


def _decoded(key: str, page: dict[str, Any]) -> str:
    """botocore decodes the keys of objects, not those of uploads; and some servers pass over EncodingType."""
    return unquote_plus(key) if page.get("EncodingType") == "url" else key


def _abort(client: S3Client, bucket: str, key: str, upload: str | None) -> bool:
    """True where the upload is gone for certain. Never raises: the error that led here matters more."""
    if upload is None:
        return False
    try:
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
    except client.exceptions.NoSuchUpload:
        return True
    except AWS_ERRORS as error:
        logger.warning("Upload %s of s3://%s/%s was not aborted; the next sweep will: %s", upload, bucket, key, error)
        return False
    return True


def _delete(client: S3Client, bucket: str, key: str) -> None:
    try:
        client.delete_object(Bucket=bucket, Key=key)
    except AWS_ERRORS as error:
        logger.warning("s3://%s/%s was not deleted; the next sweep will: %s", bucket, key, error)
