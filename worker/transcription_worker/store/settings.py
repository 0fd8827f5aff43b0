"""How an S3 server is reached and how objects are stored there. Credentials are not here: boto3's default chain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """`spec.storage` and `spec.output.encryption` of a job, as the S3 store needs them.

    A directory ignores all of it. Every field has the default of a job that says nothing.
    """

    endpoint_url: str | None = None
    """`https://host[:port]` of an S3-compatible server; None: AWS, or what AWS_ENDPOINT_URL says."""
    region: str | None = None
    addressing_style: Literal["auto", "path", "virtual"] = "auto"
    """`auto`: path style where `endpoint_url` is set (bucket names seldom resolve there), else boto3's choice."""
    ca_bundle: Path | None = None
    """PEM file of the authorities to trust in place of the system's."""
    checksums: Literal["when_required", "when_supported"] = "when_required"
    """botocore's request and response checksum mode; many compatible stores refuse what `when_supported` sends."""
    encryption_type: Literal["AES256", "aws:kms"] | None = None
    """Server-side encryption of everything that is written; None leaves it to the bucket's default."""
    kms_key_id: str | None = None

    max_connections: int = 32
    """Size of the connection pool: the most threads that talk to the store at once."""
    connect_timeout: float = 10.0
    """Seconds."""
    read_timeout: float = 60.0
    """Seconds without a byte."""
    max_attempts: int = 5
    """Attempts per request, the first one included."""
    multipart_threshold: int = 64 * MIB
    """Files of more bytes than this are sent in parts."""
    part_size: int = 16 * MIB
    """Bytes per part (S3: at least 5 MiB); larger where 10,000 parts would not hold the file."""
