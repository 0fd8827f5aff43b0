"""A sample of the trials of the store module; `python -m tests.chaos.store` runs all of them."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.chaos.store_alone import Bench, Trial, trials
from tests.chaos.store_faults import Asked, Kind, flip, only, storm
from tests.s3proxy import Request
from tests.s3server import S3Server
from transcription_worker.errors import RecordingError
from transcription_worker.store import StoreSettings
from transcription_worker.store.s3 import S3Store

pytestmark = pytest.mark.s3

WIDTH = 16
"""Trials at once: they wait far more than they compute."""


def sample() -> list[Trial]:
    """Each kind at least once always and once in passing, at sorts of request that take turns."""
    chosen = []
    for number, kind in enumerate(Kind):
        of_kind = [trial for trial in trials() if trial.kind is kind]
        for times in {trial.times for trial in of_kind}:
            alike = [trial for trial in of_kind if trial.times == times]
            chosen.append(alike[number % len(alike)])
    return chosen


def test_no_misbehaviour_of_a_store_gives_a_wrong_result_or_an_unclear_one(
    s3_environment: S3Server, bucket: str
) -> None:
    bench = Bench(s3_environment, bucket)
    with ThreadPoolExecutor(WIDTH) as pool:
        verdicts = list(pool.map(bench.try_out, sample()))
    assert {verdict.trial.kind for verdict in verdicts} == set(Kind)
    assert {str(verdict.trial): verdict.faults for verdict in verdicts if verdict.faults} == {}


def test_credentials_that_expire_are_told_from_objects_that_are_denied(s3_environment: S3Server, bucket: str) -> None:
    """HEAD, which every recording begins with, says neither: its answer has no body."""
    bench = Bench(s3_environment, bucket)
    for kind in (Kind.EXPIRED, Kind.SKEWED):
        assert bench.try_out(Trial(kind, Asked.HEAD, None)).faults == ()


@pytest.mark.parametrize("size", [60_000, 5 << 20], ids=["small", "many chunks"])
def test_a_body_that_is_always_damaged_ends_in_an_error_and_not_in_endless_reading(
    s3_environment: S3Server, bucket: str, tmp_path: Path, size: int
) -> None:
    with storm(s3_environment, only(Kind.BIT_FLIP, Asked.GET, after=1)) as weather:
        store = S3Store(bucket, uuid.uuid4().hex, StoreSettings(endpoint_url=weather.endpoint))
        store.put("first", b"first")
        store.get("first")
        etag = store.put("k", bytes(size))
        with pytest.raises(RecordingError, match=r"/k arrived damaged each time \(its MD5 is .* its ETag ") as raised:
            store.fetch("k", etag, tmp_path / "copy")
    assert raised.value.retryable
    assert weather.asked[Asked.GET] <= 6


def test_etags_that_are_no_digests_are_found_out_once(s3_environment: S3Server, bucket: str) -> None:
    """A bit that always flips looks to a client as ETags do that a store makes up: each body differs from its own."""
    with storm(s3_environment, only(Kind.BIT_FLIP, Asked.GET)) as weather:
        store = S3Store(bucket, uuid.uuid4().hex, StoreSettings(endpoint_url=weather.endpoint))
        store.put("a", b"x" * 100)
        store.put("b", b"y" * 100)
        assert store.get("a") == flip(b"x" * 100)
        assert store.get("b") == flip(b"y" * 100)
    assert weather.asked[Asked.GET] == 4


def test_requests_are_told_apart() -> None:
    lines = {
        "GET /b?list-type=2&prefix=x HTTP/1.1": Asked.LIST,
        "GET /b/k HTTP/1.1": Asked.GET,
        "HEAD /b/k HTTP/1.1": Asked.HEAD,
        "PUT /b/k HTTP/1.1": Asked.PUT,
        "PUT /b/k?uploadId=1&partNumber=1 HTTP/1.1": Asked.PART,
        "POST /b/k?uploads HTTP/1.1": Asked.BEGIN,
        "POST /b/k?uploadId=1 HTTP/1.1": Asked.COMPLETE,
        "DELETE /b/k?uploadId=1 HTTP/1.1": Asked.ABORT,
        "GET /b?uploads&prefix=k HTTP/1.1": Asked.UPLOADS,
        "DELETE /b/k HTTP/1.1": Asked.DELETE,
    }
    assert {line: Asked.of(Request(line, {})) for line in lines} == lines
    assert Asked.of(Request("PUT /b/k HTTP/1.1", {"if-match": "x"})) is Asked.PUT_IF
