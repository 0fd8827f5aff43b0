"""Keys that mean harm, through whole jobs: each has its transcript under its own name, and nothing lies anywhere else.

The server is moto, for it keeps any key as it is; a server over a directory cannot hold these.
"""

from __future__ import annotations

import io
import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import soundfile
from moto.server import ThreadedMotoServer

from tests.jobs import Job
from tests.speech import RATE, phrase
from transcription_worker.intake import scratch_extension
from transcription_worker.layout import JOBS_PREFIX
from transcription_worker.plan import Recording

pytestmark = [pytest.mark.model, pytest.mark.slow]

BUCKET = "hostile"
LONGEST = 1_024
KEYS = [
    "../up.wav",
    "../../etc/passwd.wav",
    "a/../../b.wav",
    "./here.wav",
    "..wav",
    "//two/slashes.wav",
    "/absolute.wav",
    "back\\..\\slash.wav",
    "carriage\rreturn.wav",
    "escape \x1b[2J\x1b]0;title\x07 bell.wav",
    "delete\x7f and\x01 start of heading.wav",
    "right to left \u202egpj.wav",
    "isolate \u2066\u2069 mark \u200f.wav",
    "separator\u2028line\u2029paragraph.wav",
    "zero\u200bwidth.wav",
    unicodedata.normalize("NFC", "é.wav"),
    unicodedata.normalize("NFD", "é.wav"),
    "case.wav",
    "CASE.wav",
    "case.WAV",
    "<script>alert(1)</script>.wav",
    '"><img src=x onerror=alert(1)>.wav',
    "{{data}} ${HOME} $(id) `id` %(x)s %s {0} [bold]not[/bold].wav",
    "=cmd|' /C calc'!A0.wav",
    "@SUM(1+1).wav",
    "+1.wav",
    "-rf.wav",
    "; rm -rf ~;.wav",
    "a.wav.json.wav",
    "name.wav/inside.wav",
    "name.wav",
    "_transcription.wav",
    "extension.\u202e/wav.flac/../x.wav",
    "x" * (LONGEST - len("out/") - len(".wav.json")) + ".wav",
    "ü" * 400 + ".wav",
]
LINE_BREAKS = ["line\nbreak.wav", "\r\n\r\nHTTP 200.wav", "a\n2026-01-01 INFO forged.wav"]
"""Files have such names; moto's own server does not take them."""
TOO_LONG = "y" * (LONGEST - len("in/") - len(".wav")) + ".wav"
RESERVED = [f"{JOBS_PREFIX}{name}.wav" for name in ("job-01234567/ledger/00000", "job-01234567/plan/plan", "x")]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def recording() -> bytes:
    body = io.BytesIO()
    soundfile.write(body, phrase("one two three"), RATE, format="WAV")
    return body.getvalue()


def environment(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
    }


@pytest.fixture
def client(endpoint: str) -> Iterator[Any]:
    """A client, and a bucket that is empty again afterwards."""
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="any", aws_secret_access_key="any"
    )
    client.create_bucket(Bucket=BUCKET)
    yield client
    for key in bodies(client):
        client.delete_object(Bucket=BUCKET, Key=key)
    client.delete_bucket(Bucket=BUCKET)


def bodies(client: Any) -> dict[str, bytes]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
    return {key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


def outcomes(found: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    """The ledger's line of each key, of which each job has one at most."""
    lines = [
        json.loads(line)
        for key, body in found.items()
        if re.search(r"_transcription/job-[^/]+/ledger/\d+\.jsonl$", key)
        for line in body.decode().split("\n")
        if line
    ]
    assert len({(line["key"], line["state"]) for line in lines}) == len(lines)
    return {line["key"]: line for line in lines}


def test_every_key_has_its_transcript_under_its_own_name_and_nothing_lies_elsewhere(
    endpoint: str, client: Any, recording: bytes, tmp_path: Path
) -> None:
    for key in [*KEYS, TOO_LONG, *RESERVED]:
        client.put_object(Bucket=BUCKET, Key=f"in/{key}", Body=recording)
    before = bodies(client)
    formats = ["json", "txt", "srt", "vtt", "ctm"]
    job = Job.of(
        tmp_path / "job",
        source=f"s3://{BUCKET}/in",
        output=f"s3://{BUCKET}/out",
        environment=environment(endpoint),
    )
    job.spec["output"]["formats"] = formats
    job.spec["input"]["include"] = ["**"]
    ran = job.run()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    for line in (ran.stdout + ran.stderr).split("\n"):
        assert re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line).replace("\r", "").isprintable(), line

    found = bodies(client)
    assert {key: found[key] for key in before} == before
    made = {key for key in found if key not in before}
    own = {key for key in made if key.startswith(f"out/{JOBS_PREFIX}")}
    assert made - own == {f"out/{key}.{form}" for key in KEYS for form in formats}
    said = outcomes(found)
    assert said.keys() == {*KEYS, TOO_LONG}
    assert {key for key, line in said.items() if line["state"] == "done"} == set(KEYS)
    assert (said[TOO_LONG]["reason"], said[TOO_LONG]["attempts"]) == ("StoreError", 1)
    assert "a key has at most 1,024 bytes" in said[TOO_LONG]["message"]
    for key in KEYS:
        transcript = json.loads(found[f"out/{key}.json"])
        assert (transcript["source"]["key"], transcript["text"]) == (key, "one two three")
        assert found[f"out/{key}.ctm"].count(b"\n") == 3
    assert job.scratch_files() == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job"]

    page = next(body for key, body in found.items() if key.endswith("/report/index.html")).decode()
    data = json.loads(re.search(r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert {row["key"] for row in data["rows"]} == {*KEYS, TOO_LONG}
    assert all(key.startswith(f"out/{JOBS_PREFIX}job-") for key in own)


def test_files_of_any_name_have_their_transcripts_beside_no_other(recording: bytes, tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    keys = [key for key in [*KEYS, *LINE_BREAKS] if is_file_name(key)]
    assert len(keys) > 20
    for key in keys:
        (source / key).parent.mkdir(parents=True, exist_ok=True)
        (source / key).write_bytes(recording)
    job = Job.of(tmp_path / "job", source=source, output=output)
    ran = job.run()
    assert ran.returncode == 0, ran.stderr
    for line in ran.stderr.split("\n"):
        assert line.isprintable() and not line.startswith("2026-01-01"), line
    made = {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()}
    own = {name for name in made if name.startswith(JOBS_PREFIX)}
    assert made - own == {f"{key}.{form}" for key in keys for form in ("json", "txt")}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "job", "out"]
    assert job.scratch_files() == []


def is_file_name(key: str) -> bool:
    parts = key.split("/")
    return all(part not in ("", ".", "..") and len(part.encode()) < 200 for part in parts) and key != "name.wav"


def test_transcripts_beside_their_recordings_are_no_input_of_the_next_job(
    endpoint: str, client: Any, recording: bytes, tmp_path: Path
) -> None:
    """Input and output share a prefix, and somebody has put recordings where jobs keep their own."""
    for key in ["a.wav", "deep/a.wav", *RESERVED]:
        client.put_object(Bucket=BUCKET, Key=f"all/{key}", Body=recording)
    place = f"s3://{BUCKET}/all"
    job = Job.of(tmp_path / "job", source=place, output=place, environment=environment(endpoint))
    for _ in range(2):
        ran = job.run()
        assert ran.returncode == 0, ran.stderr
    found = bodies(client)
    assert outcomes(found).keys() == {"a.wav", "deep/a.wav"}
    transcripts = {key for key in found if key.endswith(".json") and f"/{JOBS_PREFIX}" not in key}
    assert transcripts == {"all/a.wav.json", "all/deep/a.wav.json"}


@pytest.mark.parametrize("key", [*KEYS, "a.../../x", "a.\0wav", "a.wäv", "a." + "w" * 2_000, "a.sh;id"])
def test_no_key_names_a_file_in_scratch(key: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9]{1,16}", scratch_extension(Recording(key, "e", 1)))


def test_the_longest_key_of_a_test_is_as_long_as_s3_allows() -> None:
    assert max(len(f"in/{key}".encode()) for key in [*KEYS, TOO_LONG]) == LONGEST == len(f"in/{TOO_LONG}")
