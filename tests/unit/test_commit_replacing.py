"""A transcript that replaces an older one: no kill leaves a format that tells of the older recording."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from transcription_worker.commit import Committer, Overwrite
from transcription_worker.fault_points import VARIABLE, Point
from transcription_worker.store.local import LocalStore
from transcription_worker.store.protocol import ObjectInfo
from transcription_worker.transcript import ChannelTranscript, Provenance, Segment, Source, Transcript

KEY = "a.wav"
REPLACE = (
    "import sys\n"
    "from pathlib import Path\n"
    "from tests.unit.test_commit_replacing import KEY, committer, transcript\n"
    "one = committer(Path(sys.argv[1]), 'new', ['txt'])\n"
    "one.commit(transcript('new'), one.find(KEY))\n"
)


def committer(root: Path, job: str, formats: list[str]) -> Committer:
    return Committer(
        LocalStore(root, str(root)),
        job_id=job,
        model_digest="m",
        options_digest=job,
        formats=formats,
        overwrite=Overwrite.IF_CHANGED,
        conditional_writes=True,
    )


def transcript(job: str, key: str = KEY) -> Transcript:
    source = Source(
        uri=key, key=key, etag=f"of {job}", size=1, duration=1.0, sample_rate=16000, channels=1, codec="pcm_s16le"
    )
    provenance = Provenance(
        job=job,
        model="m",
        model_digest="m",
        options_digest=job,
        engine="",
        software="",
        precision="float32",
        language=None,
    )
    return Transcript(source, provenance, (ChannelTranscript(None, (Segment(0.0, 1.0, job, None, ()),)),))


def replace_and_die(root: Path, point: Point | None) -> int:
    environment = {**os.environ, **({VARIABLE: f"{point}:1"} if point else {})}
    repository = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-c", REPLACE, root], env=environment, cwd=repository, check=False
    ).returncode


@pytest.mark.parametrize("point", [Point.FORMAT_PUT, Point.FORMAT_REMOVED, Point.COMMIT_BEFORE, Point.COMMIT_PUT])
def test_a_killed_replacement_leaves_no_format_of_the_older_transcript_to_its_successor(
    tmp_path: Path, point: Point
) -> None:
    older = committer(tmp_path, "old", ["srt", "vtt"])
    assert older.commit(transcript("old"), None)
    assert replace_and_die(tmp_path, point) == -signal.SIGKILL

    successor = committer(tmp_path, "new", ["txt"])
    found = successor.find(KEY)
    assert found is not None
    if not successor.is_current(found, "of new"):
        assert replace_and_die(tmp_path, None) == 0
    assert sorted(path.name for path in tmp_path.glob("a.wav*")) == ["a.wav.json", "a.wav.txt"]
    assert json.loads((tmp_path / "a.wav.json").read_text())["text"] == "new"


def test_a_replacement_leaves_the_formats_of_a_recording_that_is_named_like_a_channel(tmp_path: Path) -> None:
    neighbour = committer(tmp_path, "old", ["srt", "vtt"])
    assert neighbour.commit(transcript("old", f"{KEY}.ch1"), None)
    assert neighbour.commit(transcript("old"), None)
    newer = committer(tmp_path, "new", ["txt"])
    assert newer.commit(transcript("new"), newer.find(KEY))
    assert sorted(path.name.removeprefix(f"{KEY}.") for path in tmp_path.glob("a.wav*")) == [
        "ch1.json",
        "ch1.srt",
        "ch1.vtt",
        "json",
        "txt",
    ]


@pytest.mark.parametrize("body", [b"", b"[" * 100_000, b'{"schemaVersion":"1","source":{"etag":5}}', b"\xff"])
def test_somebody_elses_json_is_found_as_such(tmp_path: Path, body: bytes) -> None:
    (tmp_path / f"{KEY}.json").write_bytes(body)
    found = committer(tmp_path, "new", []).find(KEY)
    assert found is not None and found.is_foreign


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("source", "etag", 5),
        ("source", "durationSeconds", "long"),
        ("source", "durationSeconds", math.inf),
        ("provenance", "job", {}),
        ("segment", "text", 5),
    ],
)
def test_a_transcript_that_was_written_by_hand_and_badly_is_somebody_elses(
    tmp_path: Path, part: str, name: str, value: object
) -> None:
    one = committer(tmp_path, "new", [])
    assert one.commit(transcript("new"), None)
    place = tmp_path / f"{KEY}.json"
    document = json.loads(place.read_text())
    {**document, "segment": document["channels"][0]["segments"][0]}[part][name] = value
    place.write_text(json.dumps(document))
    found = one.find(KEY)
    assert found is not None and found.is_foreign


def test_somebody_elses_json_is_not_read_where_no_transcript_is_so_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / f"{KEY}.json").open("wb") as file:
        file.truncate(1 << 40)
    monkeypatch.setattr(LocalStore, "get", lambda *_: pytest.fail("a terabyte was read"))
    found = committer(tmp_path, "new", []).find(KEY)
    assert found is not None and found.is_foreign


@pytest.mark.parametrize(("duration", "words"), [("long", "1"), ("1.0", "many"), ("nan", "1"), ("inf", "1")])
def test_metadata_that_only_look_like_a_transcripts_are_somebody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, duration: str, words: str
) -> None:
    told = ObjectInfo(f"{KEY}.json", "e", 1, {"source-etag": "of new", "duration": duration, "words": words})
    monkeypatch.setattr(LocalStore, "head", lambda *_: told)
    found = committer(tmp_path, "new", []).find(KEY)
    assert found is not None and found.is_foreign
