"""Manifests as hostile, broken and large as they come: read in flat memory, refused by the line, never half planned."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.fuzz_decode import peak_bytes
from tests.jobs import Job
from tests.s3server import S3Server
from transcription_worker.errors import ConfigurationError
from transcription_worker.input_manifest import MAX_PARTS, PART_BYTES, from_manifest
from transcription_worker.layout import JOBS_PREFIX
from transcription_worker.scratch import Scratch
from transcription_worker.store import StoreSettings, open_store
from transcription_worker.store.protocol import ObjectInfo

MEGABYTES = 200
ALLOWED_BYTES = 160 << 20
"""Of the whole process: interpreter and libraries take a third of it. Read at once such a manifest took 800 MB."""


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Scratch]:
    with Scratch(tmp_path / "scratch", min_free_bytes=0) as scratch:
        yield scratch
        assert list(scratch.path.iterdir()) == []


def keys_of(body: bytes, folder: Path, scratch: Scratch) -> list[str]:
    (folder / "list.jsonl").write_bytes(body)
    return [recording.key for recording in from_manifest(open_store(str(folder)), "list.jsonl", scratch)]


def refusal(body: bytes, folder: Path, scratch: Scratch) -> str:
    with pytest.raises(ConfigurationError) as caught:
        keys_of(body, folder, scratch)
    sentence = str(caught.value)
    assert sentence.isprintable()
    assert sentence.endswith(".")
    assert len(sentence) < 800
    return sentence


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"key": "a.wav"}\n{"key": "b.wav"}\n',
        b'{"key": "a.wav"}\r\n{"key": "b.wav"}\r\n',
        b'\n\n{"key": "a.wav"}\n  \n{"key": "b.wav"}',
        b'"a.wav"\n"b.wav"\n',
        b'{"key": "a.wav"}\n{"key": "./a.wav"}\n{"key": "b.wav"}\n{"uri": "a.wav"}\n',
        b'{"key": "a.wav", "text": "' + b"x" * 900_000 + b'"}\n{"audio_filepath": "b.wav"}\n',
    ],
    ids=["mark", "crlf", "blank lines", "strings", "doubles", "long line"],
)
def test_what_editors_and_tools_write_is_read(body: bytes, tmp_path: Path, scratch: Scratch) -> None:
    assert keys_of(body, tmp_path, scratch) == ["a.wav", "b.wav"]


def test_invalid_json_is_named_by_its_line(tmp_path: Path, scratch: Scratch) -> None:
    lines = [b'{"key": "%d.wav"}' % n for n in range(12)]
    lines[6] = b'{"key": "6.wav"'
    assert refusal(b"\n".join(lines), tmp_path, scratch).startswith(f"Line 7 of {tmp_path}/list.jsonl is not JSON (")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"key": "' + b"x" * (50 << 20) + b'"}', "longer than 1 MiB"),
        (b"[" * 100_000, "not JSON (too deep)"),
        (b'{"key": "a.wav", "duration": ' + b"9" * 5_000 + b"}", "not JSON"),
        (b'{"key": "caf\xe9.wav"}', "not UTF-8"),
        ('{"key": "a.wav"}'.encode("utf-16"), "not UTF-8"),
        (b"\0" * 4_096, "not JSON"),
        (b'[{"key": "a.wav"}, {"key": "b.wav"}]', "names no recording"),
        (b"null", "names no recording"),
        (b'{"key": ""}', "names no recording"),
        (b'{"key": "."}', "not below"),
        (b'{"key": "/etc/passwd"}', "not below"),
        (b'{"key": "../up.wav"}', "not below"),
        (b'{"key": "a/../../up.wav"}', "not below"),
        (b'{"uri": "s3://other/a.wav"}', "not below"),
        (b'{"uri": "file:///etc/passwd"}', "not below"),
        (b'{"key": "\\u001b[2J\\n\\u202e://' + b"x" * 900_000 + b'"}', "not below"),
        (f'{{"key": "{JOBS_PREFIX}job-01234567/ledger/00000.jsonl"}}'.encode(), "belongs to jobs"),
        (f'{{"key": "x/../{JOBS_PREFIX}job-01234567/plan/plan"}}'.encode(), "belongs to jobs"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_line_that_cannot_be_meant_is_named_by_its_number(
    line: bytes, said: str, tmp_path: Path, scratch: Scratch
) -> None:
    sentence = refusal(b'{"key": "a.wav"}\n' + line + b"\n", tmp_path, scratch)
    assert sentence.startswith(f"Line 2 of {tmp_path}/list.jsonl ")
    assert said in sentence


def test_doubles_are_found_across_a_manifest_of_many_parts(tmp_path: Path, scratch: Scratch) -> None:
    padding = "x" * 2_000
    body = "".join(f"{json.dumps({'key': f'{n % 5_000}.wav', 'text': padding})}\n" for n in range(10_000))
    assert MAX_PARTS > len(body) // PART_BYTES > 2
    found = keys_of(body.encode(), tmp_path, scratch)
    assert sorted(found) == sorted(f"{n}.wav" for n in range(5_000))


def test_a_fault_in_the_last_line_is_told_before_the_store_is_asked_for_the_first_recording(
    tmp_path: Path, scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "list.jsonl").write_text('{"key": "a.wav"}\n' * 5_000 + "{nope\n")
    store = open_store(str(tmp_path))
    asked: list[str] = []
    head = store.head

    def note(key: str) -> ObjectInfo | None:
        asked.append(key)
        return head(key)

    monkeypatch.setattr(store, "head", note)
    with pytest.raises(ConfigurationError, match="Line 5001 of"):
        list(from_manifest(store, "list.jsonl", scratch))
    assert asked == ["list.jsonl"]


@pytest.mark.s3
def test_a_manifest_in_a_bucket_knows_its_bucket(s3_environment: S3Server, bucket: str, scratch: Scratch) -> None:
    client = s3_environment.client()
    lines = [f"s3://{bucket}/calls/{name}" for name in ("a.wav", "deep/b.wav")]
    client.put_object(Bucket=bucket, Key="calls/list.jsonl", Body="\n".join(json.dumps({"uri": u}) for u in lines))
    client.put_object(Bucket=bucket, Key="calls/a.wav", Body=b"12345")
    store = open_store(f"s3://{bucket}/calls", StoreSettings(endpoint_url=s3_environment.endpoint))
    found = list(from_manifest(store, "list.jsonl", scratch))
    assert [(r.key, r.size, r.etag != "") for r in found] == [("a.wav", 5, True), ("deep/b.wav", 0, False)]
    client.put_object(
        Bucket=bucket, Key="calls/list.jsonl", Body=b'"half a pair \\ud800.wav"\n"%s.wav"' % (b"x" * 2_000)
    )
    assert [r.etag for r in from_manifest(store, "list.jsonl", scratch)] == ["", ""]
    for elsewhere in (f"s3://{bucket}/other/a.wav", f"s3://{bucket}-2/calls/a.wav", f"s3://{bucket}/calls/../a.wav"):
        client.put_object(Bucket=bucket, Key="calls/list.jsonl", Body=json.dumps({"uri": elsewhere}))
        with pytest.raises(ConfigurationError, match=r"Line 1 of .* is not below"):
            list(from_manifest(store, "list.jsonl", scratch))


@pytest.mark.slow
def test_a_manifest_of_200_megabytes_takes_no_memory(tmp_path: Path) -> None:
    """The `plan` process itself, over a manifest of which half the lines are doubles."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "0.wav").write_bytes(b"12345")
    lines = MEGABYTES * 500
    with (folder / "list.jsonl").open("w") as manifest:
        for n in range(lines):
            manifest.write(json.dumps({"key": f"{n % (lines // 2)}.wav", "text": "x" * 2_000}) + "\n")
    assert (folder / "list.jsonl").stat().st_size >= MEGABYTES * 1_000_000
    job = Job.of(tmp_path / "job", source=folder, output=tmp_path / "out", input={"manifest": f"{folder}/list.jsonl"})
    environment = {
        **job.full_environment,
        "TRANSCRIPTION_JOB": json.dumps({**job.manifest, "metadata": {"name": "job", "uid": "0123456789"}}),
        "TRANSCRIPTION_SCRATCH": str(job.scratch),
        "TRANSCRIPTION_CACHE": str(tmp_path / "cache"),
    }
    command = [sys.executable, "-m", "transcription_worker", "plan", "--local"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    peak, started = 0, time.monotonic()
    try:
        while process.poll() is None:
            peak = max(peak, peak_bytes(process.pid))
            assert time.monotonic() < started + 300
            time.sleep(0.02)
    finally:
        process.kill()
    print(f"plan over a manifest of {MEGABYTES} MB: {peak >> 20} MiB, {time.monotonic() - started:.1f} s")
    assert process.returncode == 0
    assert json.loads(process.communicate()[0])["recordings"] == lines // 2
    assert 0 < peak < ALLOWED_BYTES
    assert job.scratch_files() == []
