"""What counts as proof that a transcript stands: an earlier ledger and the listing, which must agree in everything."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transcription_worker.commit import Overwrite
from transcription_worker.errors import Reason
from transcription_worker.layout import JobLayout
from transcription_worker.outcome import Outcome, State, write_outcomes
from transcription_worker.plan import Recording, Standing
from transcription_worker.scratch import Scratch
from transcription_worker.standing import with_standing
from transcription_worker.store import open_store

SOURCE, MODEL, OPTIONS = "source-1", "sha256:m", "options-1"
A = Recording("talks/a.wav", SOURCE, 5)


@pytest.fixture
def output(tmp_path):
    return open_store(str(tmp_path / "out"))


@pytest.fixture
def scratch(tmp_path):
    with Scratch(tmp_path / "scratch", min_free_bytes=0) as scratch:
        yield scratch


def outcome_of(stated, key=A.key, **fields):
    facts = {"model": MODEL, "options": OPTIONS, "duration": 2.5, "words": 7, "state": State.DONE, "etag": SOURCE}
    return Outcome(key=key, size=5, output=f"{key}.json", output_etag=stated, **{**facts, **fields})


def transcript(output, key=A.key, formats=("json", "srt")):
    etag = None
    for suffix in formats:
        written = output.put(f"{key}.{suffix}", f"{suffix} of {key}".encode())
        etag = written if suffix == "json" else etag
    return etag


def ledger(output, *outcomes, job="earlier-12345678", shard=0):
    output.put(JobLayout(job).ledger(shard), write_outcomes(outcomes))


def joined(output, scratch, recordings=(A,), overwrite=Overwrite.IF_CHANGED, formats=("json", "srt"), options=OPTIONS):
    return list(
        with_standing(
            recordings,
            output,
            JobLayout("now-12345678"),
            scratch,
            formats=formats,
            options_digest=options,
            overwrite=overwrite,
        )
    )


def test_a_ledger_and_the_listing_that_agree_are_proof(output, scratch):
    etag = transcript(output)
    ledger(output, outcome_of(etag))
    [found] = joined(output, scratch)
    assert found == Recording(A.key, SOURCE, 5, Standing(etag, MODEL, OPTIONS, 2.5, 7))
    assert Recording.from_json(found.to_json()) == found


def test_each_channel_has_its_own_subtitles(output, scratch):
    etag = transcript(output, formats=("json", "ch0.srt", "ch1.srt"))
    ledger(output, outcome_of(etag))
    assert joined(output, scratch)[0].standing


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        ({"etag": "source-2"}, {}),
        ({"output_etag": "replaced"}, {}),
        ({"options": "options-2"}, {}),
        ({"model": None}, {}),
        ({"state": State.FAILED, "reason": Reason.CORRUPT, "output_etag": None}, {}),
        ({"key": "talks/b.wav"}, {}),
        ({}, {"formats": ("json", "srt", "vtt")}),
        ({}, {"overwrite": Overwrite.ALWAYS}),
        ({}, {"options": "options-2"}),
    ],
    ids=str,
)
def test_what_does_not_agree_is_no_proof(output, scratch, change, asked):
    etag = transcript(output)
    fields = {"etag": SOURCE, "key": A.key, **change}
    stated = fields.pop("output_etag", etag)
    ledger(output, outcome_of(stated, **fields))
    assert joined(output, scratch, **asked) == [A]


def test_a_transcript_that_is_gone_is_no_proof(output, scratch):
    etag = transcript(output)
    output.delete(f"{A.key}.json")
    ledger(output, outcome_of(etag))
    assert joined(output, scratch) == [A]


def test_never_overwrite_asks_neither_for_source_nor_options(output, scratch):
    etag = transcript(output)
    ledger(output, outcome_of(etag, etag="source-2", options="options-2"))
    assert joined(output, scratch, overwrite=Overwrite.NEVER)[0].standing


def test_the_jobs_own_ledger_is_none_of_an_earlier_job(output, scratch):
    etag = transcript(output)
    ledger(output, outcome_of(etag), job="now-12345678")
    assert joined(output, scratch) == [A]


def test_of_several_ledgers_the_one_that_still_holds_counts(output, scratch):
    etag = transcript(output)
    ledger(output, outcome_of("older", duration=1.0), job="a-12345678")
    ledger(output, outcome_of(etag, duration=2.0), job="b-12345678", shard=3)
    ledger(output, outcome_of("older still", duration=3.0), job="c-12345678")
    assert joined(output, scratch)[0].standing == Standing(etag, MODEL, OPTIONS, 2.0, 7)


def test_of_a_job_that_is_applied_every_night_only_the_newest_ledgers_are_read(output, scratch, monkeypatch):
    monkeypatch.setattr("transcription_worker.standing.LEDGERS_AT_ONCE", 1)
    etag = transcript(output)
    nights = {f"job-{name}-12345678": f"2026-11-{day:02}T00:00:00Z" for day, name in enumerate("dbeac", start=1)}
    for job, created in nights.items():
        output.put(JobLayout(job).plan, json.dumps({"created": created}).encode())
        ledger(output, outcome_of(etag), job=job)
    read, get = [], output.get
    monkeypatch.setattr(output, "get", lambda key: read.append(key) or get(key))
    assert joined(output, scratch)[0].standing
    assert [key for key in read if "/ledger/" in key] == [
        JobLayout(f"job-{name}-12345678").ledger(0) for name in ("c", "a")
    ]


def test_recordings_named_like_outputs_do_not_prove_each_other(output, scratch):
    """`a` and `a.json` are two recordings, and `a.json` is also the transcript of the first."""
    etags = {key: transcript(output, key, ("json",)) for key in ("a", "a.json", "a.ch0", "a.ch0.txt")}
    ledger(output, *(outcome_of(etag, key) for key, etag in etags.items()))
    found = joined(output, scratch, [Recording(key, SOURCE, 1) for key in etags], formats=("json",))
    assert {r.key: r.standing and r.standing.etag for r in found} in (
        etags,
        # A recording whose transcript reads as another's is asked for: slower, and never wrong.
        {**etags, "a.ch0": None},
    )


keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=12)


@settings(max_examples=60)
@given(st.sets(keys.filter(lambda key: key not in (".", "..")), min_size=1, max_size=8), st.data())
def test_every_recording_comes_out_once_and_none_with_a_false_proof(tmp_path_factory, names, data):
    folder = tmp_path_factory.mktemp("standing")
    output = open_store(str(folder / "out"))
    recordings = [Recording(f"k/{name}", SOURCE, 1) for name in sorted(names)]
    true = {}
    for recording in recordings:
        etag = transcript(output, recording.key, ("json",))
        if data.draw(st.booleans()):
            true[recording.key] = etag
    ledger(output, *(outcome_of(etag, key) for key, etag in true.items()))
    with Scratch(folder / "scratch", min_free_bytes=0) as scratch:
        found = joined(output, scratch, [None, *recordings], formats=("json",))
    assert sorted(r.key for r in found if r) == [r.key for r in recordings]
    assert found.count(None) == 1
    for recording in filter(None, found):
        if recording.standing:
            assert recording.standing.etag == true[recording.key]


def test_nothing_is_read_where_no_earlier_job_left_a_ledger(output, scratch):
    output.put("_transcription/earlier-12345678/plan/plan.json", json.dumps({}).encode())
    given_ = [A, None, Recording("b.wav", "e", 1)]
    assert joined(output, scratch, given_) == given_


@pytest.mark.parametrize(
    "body",
    [
        b"{}\n",
        b"[" * 100_000 + b"\n",
        b"\xff\n",
        b"no ledger\n",
        b'{"key":"a","etag":"e","size":1,"state":"done","of_a_later_release":1}\n',
        b'{"key":"a","etag":"e","size":1,"state":"failed","reason":"OfALaterRelease"}\n',
    ],
    ids=range(6),
)
def test_a_ledger_that_cannot_be_read_proves_nothing_and_stops_nobody(output, scratch, body, caplog):
    etag = transcript(output)
    output.put(JobLayout("other-12345678").ledger(0), body)
    ledger(output, outcome_of(etag))
    assert joined(output, scratch)[0].standing
    assert "other-12345678/ledger/00000.jsonl is passed over" in caplog.text


def test_a_ledger_that_is_taken_away_meanwhile_proves_nothing(output, scratch, monkeypatch):
    ledger(output, outcome_of(transcript(output)))
    found = list(output.list())
    output.delete(JobLayout("earlier-12345678").ledger(0))
    monkeypatch.setattr(output, "list", lambda prefix="": iter([o for o in found if o.key.startswith(prefix)]))
    assert joined(output, scratch) == [A]
