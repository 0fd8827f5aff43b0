"""The committed examples are complete, are what their names say, and agree with their texts and checksums.

Whether a model hears them is checked in tests/integration/test_tiny_models.py.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from scripts.example_faults import FAULTS
from scripts.example_recordings import RECORDINGS
from scripts.tiny_speech import WORDS
from transcription_worker.errors import Reason

EXAMPLES = Path(__file__).parents[2] / "examples"
LONG = "audio/long/twelve-minutes.opus"
SIGNATURES = {
    ".wav": (0, b"RIFF"),
    ".flac": (0, b"fLaC"),
    ".mp3": (0, b"ID3"),
    ".opus": (28, b"OpusHead"),
    ".ogg": (29, b"vorbis"),
    ".aiff": (8, b"AIFF"),
    ".au": (0, b".snd"),
    ".caf": (0, b"caff"),
    ".m4a": (4, b"ftypM4A"),
    ".mp4": (4, b"ftypisom"),
    ".aac": (0, b"\xff\xf1"),
    ".webm": (0, b"\x1a\x45\xdf\xa3"),
    ".mkv": (0, b"\x1a\x45\xdf\xa3"),
    ".amr": (0, b"#!AMR\n"),
}


def expected() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (EXAMPLES / "expected.jsonl").read_text(encoding="ascii").splitlines()]


def good() -> dict[str, dict[str, Any]]:
    return {row["file"]: row for row in expected() if "reason" not in row}


def bad() -> dict[str, dict[str, Any]]:
    return {row["file"]: row for row in expected() if "reason" in row}


def test_every_file_has_its_expectation_and_every_expectation_its_file() -> None:
    files = [p for folder in ("audio", "bad-audio") for p in (EXAMPLES / folder).rglob("*") if p.is_file()]
    assert sorted(row["file"] for row in expected()) == sorted(p.relative_to(EXAMPLES).as_posix() for p in files)


@pytest.mark.parametrize("suffix", SIGNATURES)
def test_each_input_format_is_there_and_is_what_its_name_says(suffix: str) -> None:
    offset, signature = SIGNATURES[suffix]
    files = [EXAMPLES / name for name in good() if name.endswith(suffix)]
    assert files
    for file in files:
        assert file.read_bytes()[offset : offset + len(signature)] == signature, file.name


def test_texts_are_those_that_the_scripts_have_spoken() -> None:
    for recording in RECORDINGS:
        row = good()[f"audio/{recording.name}"]
        assert row["text"] == " ".join(phrase["text"] for phrase in row["phrases"])
        assert row["channels"] == recording.channels
        assert set(row["text"].split()) <= set(WORDS)
        if f"audio/{recording.name}" != LONG:
            assert [(p["text"], p["channel"]) for p in row["phrases"]] == [
                (line.text, line.channel) for line in recording.lines
            ]


def test_phrases_follow_one_another_inside_the_recording() -> None:
    for name, row in good().items():
        edges = [0.0, *(edge for p in row["phrases"] for edge in (p["start"], p["end"])), row["seconds"]]
        assert all(earlier <= later for earlier, later in pairwise(edges)), name


def test_one_has_two_channels_that_both_speak_one_is_silent_and_one_is_long() -> None:
    support = good()["audio/calls/support.wav"]
    assert {phrase["channel"] for phrase in support["phrases"]} == {0, 1}
    assert good()["audio/silence.flac"]["text"] == ""
    assert good()[LONG]["seconds"] >= 720


def test_bad_recordings_name_a_reason_of_the_fixed_list() -> None:
    assert {name: row["reason"] for name, row in bad().items()} == {f"bad-audio/{f.name}": f.reason for f in FAULTS}
    reasons = {Reason(row["reason"]) for row in bad().values()}
    assert reasons == {Reason.EMPTY, Reason.TRUNCATED, Reason.CORRUPT, Reason.UNSUPPORTED_FORMAT}


def test_truncated_recordings_are_the_beginning_of_whole_ones() -> None:
    whole = {
        "cut.wav": "directions.wav",
        "cut.flac": "combination.flac",
        "cut.mp3": "countdown.mp3",
        "cut.ogg": "order-number.ogg",
        "cut-before-index.m4a": "voice-memo.m4a",
    }
    for cut, source in whole.items():
        content = (EXAMPLES / "audio" / source).read_bytes()
        assert (EXAMPLES / "bad-audio" / cut).read_bytes() == content[: len(content) // 2]


def test_readme_tells_of_every_file() -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    names = [row["file"].split("/", 1)[1] for row in expected()]
    assert [name for name in names if f"`{name}`" not in readme] == []


def test_models_match_their_checksums_and_stay_small() -> None:
    lines = (EXAMPLES / "models" / "SHA256SUMS").read_text(encoding="ascii").splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    models = sorted((EXAMPLES / "models").glob("*.nemo"))
    assert [m.name for m in models] == ["tiny-ctc.nemo", "tiny-tdt.nemo"] == sorted(sums)
    for model in models:
        assert hashlib.sha256(model.read_bytes()).hexdigest() == sums[model.name]
        assert model.stat().st_size <= 5_000_000


def test_models_tell_nothing_of_the_machine_that_made_them() -> None:
    for model in (EXAMPLES / "models").glob("*.nemo"):
        with tarfile.open(model) as archive:
            assert {(m.mtime, m.uid, m.uname) for m in archive} == {(0, 0, "")}
            configuration = archive.extractfile("model_config.yaml")
            assert configuration is not None
            assert b"/tmp" not in configuration.read()


def test_examples_stay_small_enough_to_clone() -> None:
    assert sum(p.stat().st_size for p in EXAMPLES.rglob("*") if p.is_file()) < 8_000_000
