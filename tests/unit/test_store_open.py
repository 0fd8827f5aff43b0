"""Which store a URI opens, and what that costs to import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from transcription_worker.errors import ConfigurationError
from transcription_worker.store import open_store
from transcription_worker.store.local import LocalStore
from transcription_worker.store.s3 import S3Store


@pytest.mark.parametrize(
    ("uri", "bucket", "prefix", "shown"),
    [
        ("s3://b", "b", "", "s3://b"),
        ("s3://b/", "b", "", "s3://b"),
        ("s3://b/p", "b", "p/", "s3://b/p"),
        ("s3://b/p/", "b", "p/", "s3://b/p"),
        ("s3://b/p/q", "b", "p/q/", "s3://b/p/q"),
        ("s3://b//p", "b", "/p/", "s3://b//p"),
        ("s3://b/a%20b +c", "b", "a%20b +c/", "s3://b/a%20b +c"),
    ],
)
def test_a_prefix_is_a_folder(uri: str, bucket: str, prefix: str, shown: str) -> None:
    store = open_store(uri)
    assert isinstance(store, S3Store)
    assert (store.bucket, store.prefix, store.uri) == (bucket, prefix, shown)


def test_paths_and_file_uris_open_the_same_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my files").mkdir()
    (tmp_path / "my files" / "a").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    for uri in ("my files", "./my files/", str(tmp_path / "my files"), f"file://{tmp_path}/my%20files"):
        store = open_store(uri)
        assert isinstance(store, LocalStore)
        assert [o.key for o in store.list()] == ["a"], uri


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("s3://", "s3:// names no bucket; write s3://<bucket>/<prefix>."),
        ("s3:///p", "s3:///p names no bucket; write s3://<bucket>/<prefix>."),
        ("gs://b/p", "gs://b/p is of an unknown kind; write s3://<bucket>/<prefix> or a directory."),
        ("file://host/p", "file://host/p names the host host; write file:///<directory>."),
        ("", "The location is empty; write s3://<bucket>/<prefix> or a directory."),
    ],
)
def test_other_uris_are_refused_with_what_to_write(uri: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        open_store(uri)
    assert str(raised.value) == sentence


def test_directories_need_no_boto3(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from transcription_worker.store import open_store\n"
        f"store = open_store({str(tmp_path)!r})\n"
        "store.check(write=True)\n"
        "print([m for m in ('boto3', 'botocore', 'urllib3', 'numpy') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
