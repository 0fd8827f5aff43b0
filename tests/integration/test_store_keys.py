"""Keys as hostile as S3 allows. A server over a directory cannot hold them; moto keeps them in memory as they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from transcription_worker.store import StoreSettings, open_store
from transcription_worker.store.protocol import IfAbsent

KEYS = [
    "a b.wav",
    "  two at both ends  ",
    "ä/ü 日本語.wav",
    "e\u0301 is not \u00e9",
    "emoji 😀.wav",
    "a+b",
    "a%20b",
    "a%2Fb",
    "100%",
    "a//b",
    "//",
    "/leading",
    "trailing/",
    "../up",
    "a/../b",
    "./here",
    "a/./b",
    "..",
    "a",
    "a/b",
    "a-b",
    "question?x=1&y=2",
    "hash#fragment",
    "quotes\"'<>&;",
    "back\\slash",
    "tilde~star*[x]{y}:@=,!$()",
    "control\x01\x1f\x7f",
    "tab\tin it",
    "carriage\rreturn",
    "\ufffe",
    "x" * 1000,
    "ü" * 500,
]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    name = f"bucket-{os.urandom(6).hex()}"
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=name)
    return name


@pytest.mark.parametrize("prefix", ["", "/p q", "/p+%/ü", "//x/"])
def test_every_key_comes_back_as_it_went(endpoint: str, bucket: str, prefix: str, tmp_path: Path) -> None:
    store = open_store(f"s3://{bucket}{prefix}", StoreSettings(endpoint_url=endpoint))
    for number, key in enumerate(KEYS):
        body = b"%d" % number
        etag = store.put(key, body, condition=IfAbsent())
        found = store.head(key)
        assert found is not None and (found.key, found.etag) == (key, etag)
        assert store.get(key) == body
        store.fetch(key, etag, tmp_path / str(number))
        assert (tmp_path / str(number)).read_bytes() == body
    assert [found.key for found in store.list()] == sorted(KEYS, key=str.encode)
    for key in KEYS:
        assert key in [found.key for found in store.list(key)]
        store.delete(key)
    assert list(store.list()) == []


def test_the_store_keeps_the_encryption_it_was_asked_for(endpoint: str, bucket: str) -> None:
    client = boto3.client("s3", endpoint_url=endpoint)
    for kind, key in (("AES256", None), ("aws:kms", "alias/k")):
        settings = StoreSettings(endpoint_url=endpoint, encryption_type=kind, kms_key_id=key)  # type: ignore[arg-type]
        open_store(f"s3://{bucket}", settings).put("k", b"1")
        found = client.head_object(Bucket=bucket, Key="k")
        assert (found["ServerSideEncryption"], found.get("SSEKMSKeyId")) == (kind, key)
