"""The scalar types of the spec: URIs, globs, quantities, percentages. Each checks itself and carries its CRD schema."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator, ValidationInfo, WithJsonSchema

from transcription_api.base import is_local, mistake
from transcription_api.globs import BANS, WELL_FORMED, GlobError, translate
from transcription_api.names import MAX_NAME_LENGTH, NAME_PATTERN
from transcription_api.quantity import QUANTITY_PATTERN, parse_quantity
from transcription_api.uri import BUCKET_PATTERN, UriError, parse_object_uri, parse_uri

MAX_URI_LENGTH = 1100
MAX_GLOB_LENGTH = 512
MAX_CHANNEL = 255
MAX_BATCH_SECONDS = 10_000
PERCENT_PATTERN = "^(100|[0-9]{1,2})%$"
NAME_MISTAKE = (
    "the name does not fit",
    f"write at most {MAX_NAME_LENGTH} lower-case letters, digits and hyphens, a letter first and no hyphen last",
)

_QUANTITY_MEND = "write a number with a unit, such as 20Gi or 500m"
_CHANNELS_MEND = f"write mix, each, or a channel number from 0 to {MAX_CHANNEL}"
_BATCH_SECONDS_MEND = f"write auto, or whole seconds of audio from 1 to {MAX_BATCH_SECONDS}"
_COUNT_MEND = 'write a number such as 100, or "0%" to "100%" in quotes'


def _cel(*rules: tuple[str, str]) -> dict[str, Any]:
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


def _matches(expression: str) -> str:
    """CEL for "the expression is found in self"; a raw string needs no second escaping."""
    return f"self.matches(r'{expression}')"


def _check_job_name(name: str) -> str:
    if len(name) > MAX_NAME_LENGTH or not re.fullmatch(NAME_PATTERN, name):
        raise mistake(*NAME_MISTAKE)
    return name


def _check_folder(text: str, info: ValidationInfo) -> str:
    try:
        parse_uri(text, local=is_local(info))
    except UriError as error:
        raise mistake(error.problem, error.mend) from None
    return text


def _check_object(text: str, info: ValidationInfo) -> str:
    try:
        parse_object_uri(text, local=is_local(info))
    except UriError as error:
        raise mistake(error.problem, error.mend) from None
    return text


def _check_glob(text: str) -> str:
    try:
        translate(text)
    except GlobError as error:
        raise mistake(error.problem, error.mend) from None
    return text


def _check_quantity(value: Any) -> int | str:
    if isinstance(value, float):
        raise mistake(f"{value} is a fraction without quotes", f'write "{value}"')
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise mistake("not a quantity", _QUANTITY_MEND)
    try:
        parse_quantity(value)
    except ValueError as error:
        raise mistake(str(error), _QUANTITY_MEND) from None
    return value


def _check_channels(value: Any) -> Literal["mix", "each"] | int:
    if value == "mix" or value == "each":
        return "mix" if value == "mix" else "each"
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_CHANNEL:
        return value
    raise mistake(f"{value!r} names no channel", _CHANNELS_MEND)


def _check_batch_seconds(value: Any) -> Literal["auto"] | int:
    if value == "auto":
        return "auto"
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_BATCH_SECONDS:
        return value
    raise mistake(f"{value!r} is no batch size", _BATCH_SECONDS_MEND)


def _check_count_or_percent(value: Any) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and re.fullmatch(PERCENT_PATTERN, value):
        return value
    raise mistake(
        f"{value!r} is neither a count nor a percentage", 'write a number such as 100, or "0%" to "100%" in quotes'
    )


def _number_or_text(number: str, text: str, message: str) -> WithJsonSchema:
    """What may be a number or text; plain `pattern` and `minimum` would refuse without saying what to write."""
    return WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "maxLength": 64,
            **_cel((f"type(self) == int ? {number} : {text}", message)),
        }
    )


FolderUri = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_URI_LENGTH,
        json_schema_extra=_cel(
            (
                _matches(f"^s3://{BUCKET_PATTERN}(/|/[^/].*)?$"),
                "not an S3 location; write s3://bucket/prefix, the bucket with 3 to 63 letters, digits, . and -",
            )
        ),
    ),
    AfterValidator(_check_folder),
]
"""`s3://bucket/prefix`; a path only in local mode."""

ObjectUri = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_URI_LENGTH,
        json_schema_extra=_cel(
            (
                _matches(f"^s3://{BUCKET_PATTERN}/[^/](.*[^/])?$"),
                "not an S3 object; write the whole key, such as s3://bucket/folder/name.ext",
            )
        ),
    ),
    AfterValidator(_check_object),
]
"""`s3://bucket/key`; a path only in local mode."""

Glob = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_GLOB_LENGTH,
        json_schema_extra=_cel(
            *((f"!{_matches(ban.expression)}", f"{ban.problem}; {ban.mend}") for ban in BANS),
            (_matches(WELL_FORMED.expression), f"{WELL_FORMED.problem}; {WELL_FORMED.mend}"),
        ),
    ),
    AfterValidator(_check_glob),
]
"""A pattern as `globs.py` reads it."""

Quantity = Annotated[
    int | str,
    PlainValidator(_check_quantity),
    _number_or_text("self >= 0", _matches(QUANTITY_PATTERN), f"not a quantity; {_QUANTITY_MEND}"),
]
"""A Kubernetes quantity, whole numbers also without quotes."""

Channels = Annotated[
    Literal["mix", "each"] | int,
    PlainValidator(_check_channels),
    _number_or_text(
        f"self >= 0 && self <= {MAX_CHANNEL}", "self in ['mix', 'each']", f"no such channel; {_CHANNELS_MEND}"
    ),
]
"""Which channels of a recording are transcribed."""

BatchSeconds = Annotated[
    Literal["auto"] | int,
    PlainValidator(_check_batch_seconds),
    _number_or_text(
        f"self >= 1 && self <= {MAX_BATCH_SECONDS}", "self == 'auto'", f"not a batch size; {_BATCH_SECONDS_MEND}"
    ),
]
"""Whole seconds of audio, or as many as fit."""

CountOrPercent = Annotated[
    int | str,
    PlainValidator(_check_count_or_percent),
    _number_or_text("self >= 0", _matches(PERCENT_PATTERN), f"neither a count nor a percentage; {_COUNT_MEND}"),
]
"""A number of things, or a share of all of them."""

ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
"""The name of another Kubernetes object (RFC 1123 subdomain)."""

LabelValue = Annotated[str, Field(max_length=63)]
AnnotationValue = Annotated[str, Field(max_length=4096)]
JobName = Annotated[str, AfterValidator(_check_job_name)]
"""RFC 1035 label that leaves room for the names of the job's children."""
