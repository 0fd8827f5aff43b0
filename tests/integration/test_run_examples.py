"""The examples, through the whole of a job: every format in, the texts that were said out, every fault named."""

import json

import pytest

from tests.jobs import EXAMPLES, TINY_CTC, TINY_TDT, Job, ledger, texts

pytestmark = pytest.mark.model

EXPECTED = [json.loads(line) for line in (EXAMPLES / "expected.jsonl").read_text().splitlines()]
LONG = 600
"""Seconds from which on three wrong words in two hundred are tolerated of the transducer."""


def expected_below(folder, field):
    prefix = f"{folder}/"
    return {line["file"].removeprefix(prefix): line[field] for line in EXPECTED if line["file"].startswith(prefix)}


@pytest.mark.parametrize("model", [TINY_CTC, TINY_TDT], ids=["ctc", "tdt"])
def test_every_example_is_transcribed_as_it_was_said(tmp_path, model):
    job = Job.of(tmp_path / "job", source=EXAMPLES / "audio", output=tmp_path / "out", model={"uri": str(model)})
    done = job.run()
    assert done.returncode == 0, done.stdout + done.stderr
    heard = texts(tmp_path / "out")
    seconds = expected_below("audio", "seconds")
    expected = expected_below("audio", "text")
    assert heard.keys() == expected.keys()
    for key, text in expected.items():
        if seconds[key] < LONG or model == TINY_CTC:
            assert heard[key] == text, key
        else:
            from nemo.collections.asr.metrics.wer import word_error_rate

            assert word_error_rate([heard[key]], [text]) <= 0.015


def test_every_bad_file_fails_with_its_reason_and_one_sentence(tmp_path):
    job = Job.of(
        tmp_path / "job",
        source=EXAMPLES / "bad-audio",
        output=tmp_path / "out",
        failurePolicy={"maxFailedRecordings": "100%"},
    )
    done = job.run()
    assert done.returncode == 0, done.stdout + done.stderr
    outcomes = ledger(tmp_path / "out")
    assert {line["key"]: line.get("reason") for line in outcomes} == expected_below("bad-audio", "reason")
    for line in outcomes:
        assert line["key"] in line["message"]
        assert "\n" not in line["message"]
        assert str(job.scratch) not in line["message"]
    assert texts(tmp_path / "out") == {}
    assert job.scratch_files() == []


def test_each_channel_becomes_a_transcript_of_its_own(tmp_path):
    job = Job.of(
        tmp_path / "job",
        source=EXAMPLES / "audio/calls",
        output=tmp_path / "out",
        transcription={"channels": "each"},
    )
    job.spec["output"]["formats"] = ["json", "srt", "txt"]
    assert job.run().returncode == 0
    phrases = {line["file"]: line.get("phrases") for line in EXPECTED}["audio/calls/support.wav"]
    for channel in (0, 1):
        said = " ".join(p["text"] for p in phrases if p["channel"] == channel)
        assert (tmp_path / f"out/support.wav.ch{channel}.txt").read_text().split() == said.split()
        assert (tmp_path / f"out/support.wav.ch{channel}.srt").stat().st_size > 0
    document = json.loads((tmp_path / "out/support.wav.json").read_text())
    assert [c["channel"] for c in document["channels"]] == [0, 1]


def test_one_channel_by_its_number_and_a_channel_that_is_not_there(tmp_path):
    job = Job.of(
        tmp_path / "job",
        source=EXAMPLES / "audio/calls",
        output=tmp_path / "out",
        transcription={"channels": 1},
        failurePolicy={"maxFailedRecordings": 1},
    )
    assert job.run().returncode == 0
    reasons = {line["key"]: line.get("reason") for line in ledger(tmp_path / "out")}
    assert reasons == {"support.wav": None, "voicemail.amr": "ChannelMissing"}


def test_words_have_times_within_the_phrases_that_were_spoken(tmp_path):
    job = Job.of(tmp_path / "job", source=EXAMPLES / "audio", output=tmp_path / "out", model={"uri": str(TINY_TDT)})
    job.spec["input"]["include"] = ["directions.wav", "combination.flac", "calls/support.wav"]
    assert job.run().returncode == 0
    for name in job.spec["input"]["include"]:
        document = json.loads((tmp_path / f"out/{name}.json").read_text())
        words = [word for segment in document["channels"][0]["segments"] for word in segment["words"]]
        phrases = next(line["phrases"] for line in EXPECTED if line["file"] == f"audio/{name}")
        spoken = [(word, p["start"], p["end"]) for p in phrases for word in p["text"].split()]
        assert [w["text"] for w in words] == [word for word, _, _ in spoken]
        for word, (_, start, end) in zip(words, spoken, strict=True):
            assert start - 0.25 <= word["start"] < word["end"] <= end + 0.25
            assert 0 < word["confidence"] <= 1
