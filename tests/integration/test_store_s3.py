"""The S3 store against a real S3 server: objects, versions, conditions, parts, what is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest

from tests.s3server import S3Server
from tests.store_processes import ready_processes
from transcription_worker.errors import PreconditionFailed, Reason, RecordingError
from transcription_worker.store import Store, StoreSettings, open_store, with_processes
from transcription_worker.store.protocol import IfAbsent, IfMatch

pytestmark = pytest.mark.s3

MIB = 1 << 20
IN_PARTS = StoreSettings(multipart_threshold=6 * MIB, part_size=5 * MIB)


@pytest.fixture(params=["this process", "another"])
def store(s3_environment: S3Server, bucket: str, request: pytest.FixtureRequest) -> Iterator[Store]:
    """The same, whichever process makes the requests."""
    here = open_store(f"s3://{bucket}/jobs/one")
    if request.param == "this process":
        yield here
        return
    with ready_processes() as processes:
        yield with_processes(here, processes)


def everything(s3: S3Server, bucket: str) -> list[str]:
    return [entry["Key"] for entry in s3.client().list_objects_v2(Bucket=bucket).get("Contents", ())]


def uploads(s3: S3Server, bucket: str) -> list[str]:
    return [entry["Key"] for entry in s3.client().list_multipart_uploads(Bucket=bucket).get("Uploads", ())]


def test_what_was_put_is_found_again(store: Store, s3: S3Server, bucket: str, tmp_path: Path) -> None:
    etag = store.put("a/b c.json", b"{}", content_type="application/json", metadata={"duration": "1.5"})
    found = store.head("a/b c.json")
    assert found is not None
    assert (found.key, found.etag, found.size, found.metadata) == ("a/b c.json", etag, 2, {"duration": "1.5"})
    assert [(o.key, o.etag, o.size) for o in store.list()] == [("a/b c.json", etag, 2)]
    assert store.get("a/b c.json") == b"{}"
    store.fetch("a/b c.json", etag, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"{}"
    assert store.local_path("a/b c.json") is None
    seen = s3.client().head_object(Bucket=bucket, Key="jobs/one/a/b c.json")
    assert seen["ContentType"] == "application/json"
    store.delete("a/b c.json")
    store.delete("a/b c.json")
    assert store.head("a/b c.json") is None and list(store.list()) == []


def test_a_location_is_a_folder(s3_environment: S3Server, bucket: str) -> None:
    whole = open_store(f"s3://{bucket}")
    for key in ("p/x", "p2/x", "q"):
        whole.put(key, b"")
    for uri in (f"s3://{bucket}/p", f"s3://{bucket}/p/"):
        assert [o.key for o in open_store(uri).list()] == ["x"]
    assert [o.key for o in whole.list("p")] == ["p/x", "p2/x"]


def test_a_listing_of_many_pages_is_whole_and_in_order(s3: S3Server, s3_environment: S3Server, bucket: str) -> None:
    client = s3.client()
    keys = [f"in/{number:04d}" for number in range(1050)]
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda key: client.put_object(Bucket=bucket, Key=key, Body=b""), keys))
    listed = open_store(f"s3://{bucket}/in").list()
    assert [f"in/{found.key}" for found in listed] == keys


def test_a_scan_over_several_connections_finds_the_same(
    s3: S3Server, s3_environment: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transcription_worker.store.s3_list.ALONE_PAGES", 1)
    client = s3.client()
    keys = [f"in/{n % 7}{'/' if n % 5 else '-'}{n:04d}" for n in range(2100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: client.put_object(Bucket=bucket, Key=key, Body=b""), keys))
    store = open_store(f"s3://{bucket}/in")
    found = [info.key for info in store.scan()]
    assert len(found) == len(keys)
    assert sorted(found) == [info.key for info in store.list()]


def test_conditions_hold(store: Store) -> None:
    first = store.put("k", b"1", condition=IfAbsent())
    with pytest.raises(PreconditionFailed):
        store.put("k", b"2", condition=IfAbsent())
    with pytest.raises(PreconditionFailed):
        store.put("k", b"2", condition=IfMatch("0" * 32))
    second = store.put("k", b"2", metadata={"a": "b"}, condition=IfMatch(first))
    with pytest.raises(PreconditionFailed):
        store.put("k", b"3", condition=IfMatch(first))
    with pytest.raises(PreconditionFailed):
        store.put("missing", b"3", condition=IfMatch(first))
    found = store.head("k")
    assert found is not None and (found.etag, found.metadata) == (second, {"a": "b"})
    assert store.get("k") == b"2"


def test_the_probes_leave_nothing(store: Store, s3: S3Server, bucket: str) -> None:
    store.check(write=False)
    store.check(write=True)
    assert store.supports_conditions()
    assert everything(s3, bucket) == []


def test_a_recording_that_was_replaced_is_changed(store: Store, tmp_path: Path) -> None:
    etag = store.put("a.wav", b"first")
    store.put("a.wav", b"second")
    with pytest.raises(RecordingError, match="is no longer the version that was listed; run the job again") as raised:
        store.fetch("a.wav", etag, tmp_path / "copy")
    assert raised.value.reason is Reason.CHANGED and not raised.value.retryable


def test_a_recording_that_was_removed_is_not_found(store: Store, bucket: str, tmp_path: Path) -> None:
    for attempt in (lambda: store.get("a.wav"), lambda: store.fetch("a.wav", "0" * 32, tmp_path / "copy")):
        with pytest.raises(RecordingError) as raised:
            attempt()
        assert raised.value.reason is Reason.NOT_FOUND
        assert str(raised.value).startswith(f"s3://{bucket}/jobs/one/a.wav does not exist")
        (tmp_path / "copy").unlink(missing_ok=True)


def test_a_target_that_exists_is_left_alone(store: Store, tmp_path: Path) -> None:
    etag = store.put("k", b"1")
    (tmp_path / "taken").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        store.fetch("k", etag, tmp_path / "taken")
    assert (tmp_path / "taken").read_bytes() == b"mine"


@pytest.mark.root
def test_a_full_disk_is_no_space(store: Store, tmp_path: Path, full_disk: Path) -> None:
    etag = store.put("k", os.urandom(2 * MIB))
    with pytest.raises(RecordingError, match="No space left") as raised:
        store.fetch("k", etag, full_disk / "copy")
    assert raised.value.reason is Reason.NO_SPACE and raised.value.retryable


def test_files_up_to_the_threshold_are_one_put(store: Store, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(os.urandom(3 * MIB))
    etag = store.put("f", tmp_path / "f", condition=IfAbsent())
    assert "-" not in etag
    assert store.get("f") == (tmp_path / "f").read_bytes()


@pytest.mark.parametrize("checksums", ["when_required", "when_supported"])
def test_large_files_are_sent_in_parts(
    s3: S3Server, s3_environment: S3Server, bucket: str, tmp_path: Path, checksums: str
) -> None:
    store = open_store(f"s3://{bucket}/out", replace(IN_PARTS, checksums=checksums))  # type: ignore[arg-type]
    big = tmp_path / "big"
    big.write_bytes(os.urandom(13 * MIB))
    etag = store.put("big", big, metadata={"a": "b"}, condition=IfAbsent())
    found = store.head("big")
    assert found is not None and (found.etag, found.size, found.metadata) == (etag, 13 * MIB, {"a": "b"})
    store.fetch("big", etag, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == big.read_bytes()
    with pytest.raises(PreconditionFailed):
        store.put("big", big, condition=IfAbsent())
    assert everything(s3, bucket) == ["out/big"]
    assert uploads(s3, bucket) == []


def test_a_file_that_fails_half_way_leaves_no_parts(
    s3: S3Server, s3_environment: S3Server, bucket: str, tmp_path: Path
) -> None:
    store = open_store(f"s3://{bucket}/out", IN_PARTS)
    big = tmp_path / "big"
    big.write_bytes(os.urandom(13 * MIB))
    sent = 0

    def interrupt_second_part(**_: object) -> None:
        nonlocal sent
        sent += 1
        if sent == 2:
            raise KeyboardInterrupt

    client = store._s3()  # type: ignore[attr-defined]
    client.meta.events.register("before-send.s3.UploadPart", interrupt_second_part)
    with pytest.raises(KeyboardInterrupt):
        store.put("big", big)
    assert sent == 2
    assert everything(s3, bucket) == [] and uploads(s3, bucket) == []


KILLED_BETWEEN_PARTS = """
import os, sys
from pathlib import Path
from transcription_worker.store import StoreSettings, open_store
store = open_store(sys.argv[1], StoreSettings(multipart_threshold=6 << 20, part_size=5 << 20))
sent = []
def kill_at_second_part(**_):
    sent.append(1)
    if len(sent) == 2:
        os.kill(os.getpid(), 9)
store._s3().meta.events.register("before-send.s3.UploadPart", kill_at_second_part)
store.put(sys.argv[2], Path(sys.argv[3]))
"""


def test_a_killed_upload_is_swept_and_no_one_elses(
    s3: S3Server, s3_environment: S3Server, bucket: str, tmp_path: Path
) -> None:
    client = s3.client()
    client.create_multipart_upload(Bucket=bucket, Key="out/theirs")
    client.put_object(Bucket=bucket, Key="out/_transcription/.probe-dead", Body=b"")
    big = tmp_path / "big"
    big.write_bytes(os.urandom(13 * MIB))
    script = [sys.executable, "-c", KILLED_BETWEEN_PARTS, f"s3://{bucket}/out", "big + %.json", str(big)]
    assert subprocess.run(script).returncode == -signal.SIGKILL
    assert sorted(uploads(s3, bucket)) == ["out/big + %.json", "out/theirs"]

    store = open_store(f"s3://{bucket}/out")
    assert store.abort_stale_uploads(3600) == 0
    assert sorted(uploads(s3, bucket)) == ["out/big + %.json", "out/theirs"]
    removed, deadline = 0, monotonic() + 10
    while removed < 2 and monotonic() < deadline:
        # Servers tell the time in whole seconds, so what is of this second is not yet old.
        removed += store.abort_stale_uploads(0)
    assert removed == 2
    assert uploads(s3, bucket) == ["out/theirs"]
    assert everything(s3, bucket) == []


def test_whoever_takes_over_from_a_killed_writer_aborts_its_uploads_at_once(
    s3: S3Server, s3_environment: S3Server, bucket: str, tmp_path: Path
) -> None:
    s3.client().create_multipart_upload(Bucket=bucket, Key="out/job/report/theirs")
    big = tmp_path / "big"
    big.write_bytes(os.urandom(13 * MIB))
    for key in ("job/report/manifest.jsonl", "other/report/manifest.jsonl"):
        script = [sys.executable, "-c", KILLED_BETWEEN_PARTS, f"s3://{bucket}/out", key, str(big)]
        assert subprocess.run(script).returncode == -signal.SIGKILL
    assert open_store(f"s3://{bucket}/out").abort_uploads_of("job/report/") == 1
    assert sorted(uploads(s3, bucket)) == ["out/job/report/theirs", "out/other/report/manifest.jsonl"]
    assert len(everything(s3, bucket)) == 1, "the other job's note stays"


@pytest.mark.parametrize("checksums", ["when_required", "when_supported"])
def test_checksums_are_sent_as_the_mode_says(s3_environment: S3Server, bucket: str, checksums: str) -> None:
    store = open_store(f"s3://{bucket}", StoreSettings(checksums=checksums))  # type: ignore[arg-type]
    headers = sent_headers(store, "PutObject")
    etag = store.put("k", b"hello")
    found = store.head("k")
    assert found is not None and found.etag == etag
    assert store.get("k") == b"hello"
    named = {name for name in headers()[0] if name.lower().startswith(("x-amz-checksum-", "x-amz-sdk-checksum"))}
    assert bool(named) is (checksums == "when_supported")


def test_encryption_is_asked_for_on_every_write(s3_environment: S3Server, bucket: str, tmp_path: Path) -> None:
    settings = replace(IN_PARTS, encryption_type="aws:kms", kms_key_id="alias/k")
    store = open_store(f"s3://{bucket}", settings)
    puts, parts = sent_headers(store, "PutObject"), sent_headers(store, "CreateMultipartUpload")
    big = tmp_path / "big"
    big.write_bytes(bytes(7 * MIB))
    store.check(write=True)
    store.put("k", b"1")
    store.put("big", big)
    assert len(puts()) == 3 and len(parts()) == 1
    for headers in [*puts(), *parts()]:
        assert headers["x-amz-server-side-encryption"] == "aws:kms"
        assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "alias/k"


def test_without_encryption_no_header_is_sent(s3_environment: S3Server, bucket: str) -> None:
    store = open_store(f"s3://{bucket}")
    headers = sent_headers(store, "PutObject")
    store.put("k", b"1")
    assert not [name for name in headers()[0] if "encryption" in name.lower()]


def sent_headers(store: Store, operation: str) -> Callable[[], list[dict[str, str]]]:
    """The headers of every request of that operation, as they went over the wire."""
    sent: list[dict[str, str]] = []

    def record(request: object, **_: object) -> None:
        headers = request.headers  # type: ignore[attr-defined]
        text = {name: value.decode() if isinstance(value, bytes) else value for name, value in headers.items()}
        sent.append(text)

    client = store._s3()  # type: ignore[attr-defined]
    client.meta.events.register(f"before-send.s3.{operation}", record)
    return lambda: sent
