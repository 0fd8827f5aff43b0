"""When an object was written, as stores say it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from transcription_worker.store.s3_client import _parse_timestamp


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-30T15:04:05.000Z",
        "2026-11-30T15:04:05Z",
        "2026-11-30T16:04:05+01:00",
        "Mon, 30 Nov 2026 15:04:05 GMT",
        "Mon Nov 30 15:04:05 2026 +0000",
        "1796051045",
    ],
)
def test_every_form_of_a_date_is_the_same_moment(written: str) -> None:
    assert _parse_timestamp(written).astimezone(UTC) == datetime(2026, 11, 30, 15, 4, 5, tzinfo=UTC)
