"""A disk that fills up while a body is written to it: the kernel takes a part and says nothing (write(2))."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.s3server import S3Server
from transcription_worker.errors import Reason, RecordingError
from transcription_worker.store import open_store

pytestmark = pytest.mark.root

KIB = 1 << 10
SIZES = [600 * KIB, 1600 * KIB]
"""The disk has room for half a MiB. The first is one write, of which it takes a part; in the second another follows."""


@pytest.fixture
def filling_disk(full_disk: Path) -> Path:
    (full_disk / "ballast").write_bytes(bytes(512 * KIB))
    return full_disk


@pytest.mark.parametrize("size", SIZES)
def test_no_short_file_is_taken_for_a_directory_s_recording(tmp_path: Path, filling_disk: Path, size: int) -> None:
    store = open_store(str(tmp_path / "in"))
    etag = store.put("a.wav", bytes(size))
    with pytest.raises(RecordingError) as raised:
        store.fetch("a.wav", etag, filling_disk / "copy")
    assert raised.value.reason is Reason.NO_SPACE


@pytest.mark.s3
@pytest.mark.parametrize("size", SIZES)
def test_no_short_file_is_taken_for_a_bucket_s_recording(
    s3_environment: S3Server, bucket: str, filling_disk: Path, size: int
) -> None:
    store = open_store(f"s3://{bucket}/in")
    etag = store.put("a.wav", bytes(size))
    with pytest.raises(RecordingError) as raised:
        store.fetch("a.wav", etag, filling_disk / "copy")
    assert raised.value.reason is Reason.NO_SPACE
