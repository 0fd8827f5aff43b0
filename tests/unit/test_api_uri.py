"""Locations: S3 URIs everywhere, paths only without a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from transcription_api.uri import LocalUri, S3Uri, UriError, parse_object_uri, parse_uri


@pytest.mark.parametrize(
    ("text", "bucket", "key", "prefix"),
    [
        ("s3://calls", "calls", "", ""),
        ("s3://calls/", "calls", "", ""),
        ("s3://calls/2026/1", "calls", "2026/1", "2026/1/"),
        ("s3://calls/2026/1/", "calls", "2026/1/", "2026/1/"),
        ("s3://my.old_Bucket/ü b/#?.wav", "my.old_Bucket", "ü b/#?.wav", "ü b/#?.wav/"),
    ],
)
@pytest.mark.parametrize("local", [True, False])
def test_s3_uri(text: str, bucket: str, key: str, prefix: str, local: bool) -> None:
    location = parse_uri(text, local=local)
    assert location == S3Uri(bucket, key)
    assert isinstance(location, S3Uri)
    assert location.prefix == prefix


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("calls/2026", Path("calls/2026")),
        ("/data/a b", Path("/data/a b")),
        ("./x%20y", Path("x%20y")),
        ("file:///data/a%20b", Path("/data/a b")),
        ("file://localhost/data", Path("/data")),
        ("~/calls", Path.home() / "calls"),
    ],
)
def test_path_in_local_mode(text: str, path: Path) -> None:
    assert parse_uri(text, local=True) == LocalUri(path)
    with pytest.raises(UriError, match="s3://"):
        parse_uri(text, local=False)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("s3:/calls/x", "write s3://calls/x"),
        ("S3://calls/x", "write s3://calls/x"),
        ("s3://", "with a bucket of 3 to 63"),
        ("s3://ab/x", "with a bucket of 3 to 63"),
        ("s3://calls..x-/x", "with a bucket of 3 to 63"),
        ("s3:///x", "with a bucket of 3 to 63"),
        ("s3://calls//x", "write s3://calls/x"),
        ("s3://calls/" + "ü" * 513, "shorten"),
        ("https://s3.example.com/calls", "storage.endpointUrl"),
        ("gs://calls/x", "storage.endpointUrl"),
        ("s3://calls/a\nb", "on one line"),
        ("file://server/share", "three slashes"),
        ("", "s3://bucket/prefix"),
    ],
)
def test_refused_with_advice(text: str, advice: str) -> None:
    with pytest.raises(UriError) as caught:
        parse_uri(text, local=True)
    assert advice in caught.value.mend


@pytest.mark.parametrize("text", ["s3://models", "s3://models/", "s3://models/folder/"])
def test_object_needs_a_whole_key(text: str) -> None:
    with pytest.raises(UriError, match="names no object"):
        parse_object_uri(text, local=False)
    assert parse_object_uri("s3://models/x.nemo", local=False) == S3Uri("models", "x.nemo")
