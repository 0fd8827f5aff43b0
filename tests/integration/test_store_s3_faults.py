"""Connections that break and servers that refuse, between the S3 store and a real S3 server."""

from __future__ import annotations

import os
from pathlib import Path
from time import monotonic

import pytest

from tests.s3proxy import Cut, Fault, Lose, Pass, Refuse, Request, faulty
from tests.s3server import S3Server
from transcription_worker.errors import PreconditionFailed, Reason, RecordingError
from transcription_worker.store import Store, StoreSettings, open_store
from transcription_worker.store.protocol import IfAbsent, IfMatch

pytestmark = pytest.mark.s3

MIB = 1 << 20


def through(endpoint: str, bucket: str, **settings: object) -> Store:
    return open_store(f"s3://{bucket}/p", StoreSettings(endpoint_url=endpoint, **settings))  # type: ignore[arg-type]


@pytest.fixture
def body() -> bytes:
    return os.urandom(5 * MIB + 17)


@pytest.mark.parametrize("checksums", ["when_required", "when_supported"])
def test_a_fetch_goes_on_where_the_connection_broke(
    s3_environment: S3Server, bucket: str, tmp_path: Path, body: bytes, checksums: str
) -> None:
    etag = through(s3_environment.endpoint, bucket).put("a.wav", body)

    def cut_twice(request: Request, number: int) -> Fault:
        return [Cut(2 * MIB + 5), Cut(100)][number] if number < 2 else Pass()

    with faulty(s3_environment.endpoint, cut_twice) as proxy:
        through(proxy.endpoint, bucket, checksums=checksums).fetch("a.wav", etag, tmp_path / "copy")
        assert through(proxy.endpoint, bucket, checksums=checksums).get("a.wav") == body
    assert (tmp_path / "copy").read_bytes() == body
    asked = [request.headers.get("range") for request in proxy.requests]
    assert asked[0] is None and asked[3] is None and len(asked) == 4
    for resumed in asked[1:3]:
        assert resumed is not None and 0 < int(resumed.removeprefix("bytes=").removesuffix("-")) <= 2 * MIB + 105
    assert all(request.headers["if-match"] == f'"{etag}"' for request in proxy.requests[:3])


def test_a_body_that_never_comes_whole_is_an_error_and_not_a_short_file(
    s3_environment: S3Server, bucket: str, tmp_path: Path, body: bytes
) -> None:
    etag = through(s3_environment.endpoint, bucket).put("a.wav", body)
    with faulty(s3_environment.endpoint, lambda request, number: Cut(1000)) as proxy:
        store = through(proxy.endpoint, bucket)
        with pytest.raises(RecordingError, match="could not be read to its end") as raised:
            store.fetch("a.wav", etag, tmp_path / "copy")
    assert raised.value.reason is Reason.STORE_ERROR and raised.value.retryable
    assert 2 <= len(proxy.requests) <= 10


def test_a_recording_that_is_replaced_between_two_halves_is_changed(
    s3_environment: S3Server, bucket: str, tmp_path: Path, body: bytes
) -> None:
    direct = through(s3_environment.endpoint, bucket)
    etag = direct.put("a.wav", body)

    def replace_after_first_half(request: Request, number: int) -> Fault:
        if number == 0:
            return Cut(2 * MIB)
        direct.put("a.wav", body[::-1])
        return Pass()

    with faulty(s3_environment.endpoint, replace_after_first_half) as proxy:
        store = through(proxy.endpoint, bucket)
        with pytest.raises(RecordingError) as raised:
            store.fetch("a.wav", etag, tmp_path / "copy")
    assert raised.value.reason is Reason.CHANGED


@pytest.mark.parametrize(
    "refusal",
    [
        Refuse(503, "SlowDown"),
        Refuse(500, "InternalError"),
        Refuse(429, "TooManyRequests"),
        Refuse(409, "ConditionalRequestConflict"),
        Lose(),
    ],
    ids=lambda refusal: getattr(refusal, "code", "lost"),
)
def test_what_may_pass_is_tried_again(s3_environment: S3Server, bucket: str, refusal: Fault) -> None:
    with faulty(s3_environment.endpoint, lambda request, number: refusal if number < 2 else Pass()) as proxy:
        store = through(proxy.endpoint, bucket)
        etag = store.put("k", b"x", condition=IfAbsent())
        assert len(proxy.requests) >= 3
        found = store.head("k")
    assert found is not None and found.etag == etag


def test_what_does_not_pass_is_an_error_in_the_end(s3_environment: S3Server, bucket: str) -> None:
    with faulty(s3_environment.endpoint, lambda request, number: Refuse(429, "TooManyRequests")) as proxy:
        store = through(proxy.endpoint, bucket, max_attempts=3)
        with pytest.raises(RecordingError) as raised:
            store.put("k", b"x")
    assert len(proxy.requests) == 3
    assert raised.value.reason is Reason.STORE_ERROR and raised.value.retryable
    assert str(raised.value) == (
        f"{proxy.endpoint} refused to write s3://{bucket}/p/k (TooManyRequests: refused by the test)."
    )


def test_a_writer_whose_answer_was_lost_knows_that_it_won(s3_environment: S3Server, bucket: str) -> None:
    with faulty(s3_environment.endpoint, lambda request, number: Lose() if number == 0 else Pass()) as proxy:
        store = through(proxy.endpoint, bucket)
        first = store.put("k", b"1", metadata={"duration": "2"}, condition=IfAbsent())
        assert [request.line.split()[0] for request in proxy.requests] == ["PUT", "PUT", "HEAD"]
        found = store.head("k")
        assert found is not None and (found.etag, found.metadata) == (first, {"duration": "2"})
    with faulty(s3_environment.endpoint, lambda request, number: Lose() if number == 0 else Pass()) as proxy:
        store = through(proxy.endpoint, bucket)
        second = store.put("k", b"2", condition=IfMatch(first))
    found = through(s3_environment.endpoint, bucket).head("k")
    assert found is not None and found.etag == second != first


def test_a_writer_whose_request_was_lost_knows_that_another_won(s3_environment: S3Server, bucket: str) -> None:
    direct = through(s3_environment.endpoint, bucket)

    def another_is_faster(request: Request, number: int) -> Fault:
        if number == 0:
            direct.put("k", b"another", condition=IfAbsent())
            return Refuse(503, "SlowDown")
        return Pass()

    with faulty(s3_environment.endpoint, another_is_faster) as proxy:
        store = through(proxy.endpoint, bucket)
        with pytest.raises(PreconditionFailed):
            store.put("k", b"mine", condition=IfAbsent())
    assert direct.get("k") == b"another"


def test_large_files_survive_lost_answers(s3_environment: S3Server, bucket: str, tmp_path: Path) -> None:
    """Each of the requests of an upload in parts is acted on by the server and lost on its way back, once."""
    big = tmp_path / "big"
    big.write_bytes(os.urandom(11 * MIB))
    seen: set[tuple[str, str]] = set()

    def lose_each_once(request: Request, number: int) -> Fault:
        method, path, _ = request.line.split()
        part = path.partition("?")[2].partition("uploadId")[0]
        if method in ("GET", "HEAD") or (method, part) in seen:
            return Pass()
        seen.add((method, part))
        return Lose()

    with faulty(s3_environment.endpoint, lose_each_once) as proxy:
        store = through(proxy.endpoint, bucket, multipart_threshold=6 * MIB, part_size=5 * MIB)
        etag = store.put("big", big, condition=IfAbsent())
    direct = through(s3_environment.endpoint, bucket)
    found = direct.head("big")
    assert found is not None and (found.etag, found.size) == (etag, 11 * MIB)
    # The upload that was begun twice is found by its note.
    client = s3_environment.client()
    assert len(client.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 1
    deadline = monotonic() + 10
    while not (removed := direct.abort_stale_uploads(0)) and monotonic() < deadline:
        pass
    assert removed == 1
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)
    assert [found.key for found in direct.list()] == ["big"]
