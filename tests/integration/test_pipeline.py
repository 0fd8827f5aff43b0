"""The pipeline with a stand-in engine, so that its outcomes are known exactly; all else is real."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile as sf

from tests.pipeline_setup import RATE, PitchEngine, Setup, four_tones, write_tone
from transcription_worker.commit import Overwrite
from transcription_worker.errors import Reason
from transcription_worker.outcome import State
from transcription_worker.store import Store
from transcription_worker.time_use import Step


@pytest.fixture
def setup(tmp_path, monkeypatch):
    return four_tones(tmp_path, monkeypatch)


def test_every_recording_gets_its_own_words(setup):
    outcomes = setup.run(PitchEngine())
    assert [o.state for o in outcomes] == [State.DONE] * 4
    assert setup.texts() == {f"{n}.wav.txt": f"loud {n}\n" for n in (10, 20, 30, 40)}
    assert all(o.output_etag == setup.output.head(o.output).etag for o in outcomes)


def test_a_long_recording_is_cut_and_put_together_in_order(setup):
    parts = [np.sign(np.sin(np.arange(RATE * 3) * 0.3)) * n / 100 for n in range(11, 25)]
    quiet = np.zeros(RATE // 5)
    sf.write(setup.folder / "in/long.wav", np.concatenate([x for p in parts for x in (p, quiet)]), RATE)
    setup.run(PitchEngine())
    said = setup.texts()["long.wav.txt"].split()
    levels = [int(word) for word in said if word != "loud"]
    assert levels == sorted(levels)
    assert levels[0] in (11, 12)
    assert levels[-1] == 24


def test_nothing_to_do_loads_no_model(setup):
    setup.run(PitchEngine())
    engine = PitchEngine()
    outcomes = Setup(setup.folder, job_id="job-2").run(engine)
    assert [o.state for o in outcomes] == [State.SKIPPED] * 4
    assert engine.loads == 0


@pytest.mark.parametrize(
    ("overwrite", "model", "state"),
    [
        (Overwrite.NEVER, "sha256:b", State.SKIPPED),
        (Overwrite.IF_CHANGED, "sha256:a", State.SKIPPED),
        (Overwrite.IF_CHANGED, "sha256:b", State.DONE),
        (Overwrite.ALWAYS, "sha256:a", State.DONE),
    ],
)
def test_overwrite_decides_about_transcripts_that_are_there(setup, overwrite, model, state):
    setup.run(PitchEngine())
    outcomes = Setup(setup.folder, job_id="job-2", overwrite=overwrite, model=model).run(PitchEngine())
    assert {o.state for o in outcomes} == {state}


def test_a_foreign_json_in_the_way_is_never_replaced_unless_always(setup):
    foreign = setup.folder / "out/10.wav.json"
    foreign.parent.mkdir()
    foreign.write_text('{"somebody": "else"}')
    outcomes = setup.run(PitchEngine())
    assert [o.state for o in outcomes] == [State.FAILED, State.DONE, State.DONE, State.DONE]
    assert outcomes[0].reason is Reason.OUTPUT_TAKEN
    assert foreign.read_text() == '{"somebody": "else"}'
    Setup(setup.folder, job_id="job-2", overwrite=Overwrite.ALWAYS).run(PitchEngine())
    assert "schemaVersion" in foreign.read_text()


class Unasked:
    """A store of outputs that nobody may ask."""

    def __init__(self, store: Store) -> None:
        pass


def test_what_an_earlier_ledger_proves_is_skipped_without_a_request(setup):
    first = setup.run(PitchEngine())
    engine = PitchEngine()
    second = Setup(setup.folder, job_id="job-2", wrap_output=Unasked).run(engine)
    third = Setup(setup.folder, job_id="job-3", wrap_output=Unasked).run(engine)  # job-2 made none: its ledger is proof
    assert engine.loads == 0
    for outcomes in (second, third):
        assert [o.state for o in outcomes] == [State.SKIPPED] * 4
        facts = [(o.key, o.etag, o.output, o.output_etag, o.model, o.options, o.duration, o.words) for o in outcomes]
        assert facts == [
            (o.key, o.etag, o.output, o.output_etag, o.model, o.options, o.duration, o.words) for o in first
        ]


def test_a_transcript_that_never_kept_is_no_proof_of_the_recording_that_replaced_its_own(setup):
    setup.run(PitchEngine())
    write_tone(setup.folder / "in/10.wav", 11)
    for job_id in ("job-2", "job-3"):  # the first finds it in the store or by the ledger, the second by ledgers alone
        kept = Setup(setup.folder, job_id=job_id, overwrite=Overwrite.NEVER).run(PitchEngine())
        assert [o.state for o in kept] == [State.SKIPPED] * 4
    outcomes = Setup(setup.folder, job_id="job-4").run(PitchEngine())
    assert [o.state for o in outcomes] == [State.DONE, State.SKIPPED, State.SKIPPED, State.SKIPPED]
    assert setup.texts()["10.wav.txt"] == "loud 11\n"


def test_the_question_whether_a_transcript_is_there_counts_as_fetch(setup):
    setup.run(PitchEngine())  # from a directory: nothing else is fetched
    assert setup.progress.time_use.seconds()[Step.FETCH] > 0


def test_a_proof_of_another_model_is_none(setup):
    setup.run(PitchEngine())
    outcomes = Setup(setup.folder, job_id="job-2", model="sha256:b").run(PitchEngine())
    assert [o.state for o in outcomes] == [State.DONE] * 4


def test_a_stale_writer_does_not_replace_a_newer_transcript(setup):
    class Overtaken(PitchEngine):
        def transcribe(self, batch):
            write_tone(setup.folder / "in/10.wav", 11)
            Setup(setup.folder, job_id="job-newer", scratch="other").run(PitchEngine())
            return super().transcribe(batch)

    engine = Overtaken()
    outcomes = setup.run(engine)
    assert sorted(loud for batch in engine.batches for loud in batch) == [10, 20, 30, 40]
    assert setup.texts()["10.wav.txt"] == "loud 11\n"
    assert outcomes[0].reason is Reason.CHANGED


def test_a_replaced_transcript_leaves_no_format_of_the_older_one(setup):
    setup.run(PitchEngine())
    (setup.folder / "out/10.wav.ch0.srt").write_text("old")
    (setup.folder / "out/10.wav.srt").write_text("old")
    (setup.folder / "out/10.wav.bak").write_text("not ours")
    write_tone(setup.folder / "in/10.wav", 11)
    Setup(setup.folder, job_id="job-2").run(PitchEngine())
    left = sorted(p.name for p in (setup.folder / "out").glob("10.wav.*"))
    assert left == ["10.wav.bak", "10.wav.json", "10.wav.txt"]


def test_never_leaves_a_foreign_json_alone(setup):
    (setup.folder / "out").mkdir()
    (setup.folder / "out/10.wav.json").write_text('{"somebody": "else"}')
    setup.overwrite = Overwrite.NEVER
    outcomes = setup.run(PitchEngine())
    assert [o.state for o in outcomes] == [State.SKIPPED, State.DONE, State.DONE, State.DONE]
    assert (setup.folder / "out/10.wav.json").read_text() == '{"somebody": "else"}'
