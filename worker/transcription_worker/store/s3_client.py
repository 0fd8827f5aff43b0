"""Makes the boto3 client of a store: endpoint, trust, credentials, checksums, retries. No request is sent here."""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.model import OperationModel
from botocore.utils import parse_timestamp

from transcription_worker import __name__ as package
from transcription_worker.errors import ConfigurationError
from transcription_worker.store.s3_errors import DAMAGED_CODES
from transcription_worker.store.settings import StoreSettings

S3Client = Any
"""boto3 makes the methods of its clients at run time; there is no class to name."""

_LONGEST_PAUSE = 20.0
"""Seconds."""


def make_client(settings: StoreSettings) -> tuple[S3Client, Credentials | None]:
    """A client with a session of its own, and the credentials that the default chain found.

    boto3 clients are thread-safe, but neither their creation nor a fork is: call it under a lock, once per process.

    Raises:
        ConfigurationError: the CA bundle is missing or the endpoint is no URL.
        botocore.exceptions.BotoCoreError: the profile, region or credentials cannot be read.
    """
    if settings.ca_bundle is not None and not settings.ca_bundle.is_file():
        raise ConfigurationError(f"The CA bundle {settings.ca_bundle} is no file; correct spec.storage.caBundle.")
    style = settings.addressing_style
    if style == "auto" and settings.endpoint_url:
        style = "path"
    core = botocore.session.get_session()
    core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_parse_timestamp)
    session = boto3.Session(botocore_session=core)
    try:
        client = session.client(
            "s3",
            endpoint_url=settings.endpoint_url,
            region_name=settings.region,
            verify=str(settings.ca_bundle) if settings.ca_bundle else None,
            config=Config(
                s3={"addressing_style": style},
                retries={"mode": "adaptive", "total_max_attempts": settings.max_attempts},
                request_checksum_calculation=settings.checksums,
                response_checksum_validation=settings.checksums,
                max_pool_connections=settings.max_connections,
                connect_timeout=settings.connect_timeout,
                read_timeout=settings.read_timeout,
                tcp_keepalive=True,
                user_agent_extra=package,
            ),
        )
    except ValueError as error:
        if settings.endpoint_url and "endpoint" in str(error).lower():
            raise ConfigurationError(
                f"The endpoint {settings.endpoint_url} is no URL; write spec.storage.endpointUrl as "
                "http://<host>:<port> or https://<host>."
            ) from error
        raise
    client.meta.events.register("needs-retry.s3", _MoreRetries(settings.max_attempts).pause)
    credentials = session.get_credentials()
    if credentials is not None and any(c.isspace() for c in f"{credentials.access_key}{credentials.secret_key}"):
        raise ConfigurationError(
            "The access key or its secret holds a space or a line break: write AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or the Secret named in spec.storage.credentialsSecret, without it."
        )
    return client, credentials


def _parse_timestamp(value: str) -> datetime:
    """botocore's own parser of any format takes two thirds of the time of a listing, and a fifteenth of that of a HEAD.
    Listings have ISO 8601, headers the dates of RFC 9110."""
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        with suppress(TypeError, ValueError):
            return parse(value)
    parsed: datetime = parse_timestamp(value)
    return parsed


class _MoreRetries:
    """Retries what botocore's adaptive mode leaves alone.

    429 is what some compatible stores say for SlowDown; 409 ConditionalRequestConflict means that S3 could not decide
    a conditional PUT because of another one under way, and asks for it once more; a body that was damaged on the way is
    sent again.
    """

    def __init__(self, max_attempts: int) -> None:
        self._max_attempts = max_attempts

    def pause(
        self, response: tuple[Any, dict[str, Any]] | None, operation: OperationModel, attempts: int, **_: object
    ) -> float | None:
        """Seconds to wait before the next attempt, None for none (botocore's `needs-retry` contract)."""
        if response is None or attempts >= self._max_attempts:
            return None
        http, parsed = response
        code = parsed.get("Error", {}).get("Code")
        conflict = code == "ConditionalRequestConflict" and operation.name == "PutObject"
        if http.status_code == 429 or code in DAMAGED_CODES or conflict:
            return random.uniform(0, min(_LONGEST_PAUSE, 0.25 * 2**attempts))  # noqa: S311
        return None
