"""The NeMo engine on real models: what it hears, when, whatever else is in the batch, and what it leaves behind."""

from __future__ import annotations

import gzip
import logging
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import soxr

from scripts.tiny_speech import HELD_OUT, SAMPLE_RATE, Utterance, make_utterances
from tests.integration.engine_models import TINY_CTC, TINY_TDT, created_in
from transcription_worker.engines.nemo import NemoEngine
from transcription_worker.engines.protocol import Recognition, Samples

pytestmark = [pytest.mark.model, pytest.mark.slow]

EDGE = 0.2
"""Seconds of silence around an utterance."""


@pytest.fixture(scope="module")
def utterances() -> list[Utterance]:
    """Voices that the models never heard; 1 to 12 words, so that neighbours differ much in length."""
    return make_utterances(24, 31, HELD_OUT, shortest=1, longest=12)


@pytest.fixture(scope="module")
def recordings(utterances: list[Utterance]) -> list[Samples]:
    return [np.pad(utterance.samples, round(EDGE * SAMPLE_RATE)) for utterance in utterances]


@pytest.fixture(scope="module", params=[TINY_CTC, TINY_TDT], ids=["ctc", "tdt"])
def model(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture(scope="module")
def engine(model: Path, tmp_path_factory: pytest.TempPathFactory) -> NemoEngine:
    engine = NemoEngine(model, scratch=tmp_path_factory.mktemp("scratch"), device="cpu", threads=1)
    engine.load()
    return engine


@pytest.fixture(scope="module")
def together(engine: NemoEngine, recordings: list[Samples]) -> list[Recognition]:
    return engine.transcribe(recordings)


def exact(recognition: Recognition) -> list[tuple[str, float, float]]:
    return [(word.text, word.start, word.end) for word in recognition.words]


def test_the_words_are_heard(together: list[Recognition], utterances: list[Utterance]) -> None:
    pairs = [(heard.text, said.text) for heard, said in zip(together, utterances, strict=True)]
    wrong = [(a, b) for heard, said in pairs for a, b in zip_longest(heard.split(), said.split()) if a != b]
    assert len(wrong) <= 0.05 * sum(len(said.split()) for _, said in pairs), wrong


def test_words_come_when_they_are_said(model: Path, together: list[Recognition], utterances: list[Utterance]) -> None:
    """CTC models write a word's letters inside it: later than its start, earlier than its end."""
    tolerance = 0.12 if model == TINY_TDT else 0.3
    compared = 0
    for heard, said in zip(together, utterances, strict=True):
        if said.spans is None or heard.text != said.text:
            continue
        for word, (start, end) in zip(heard.words, said.spans, strict=True):
            assert word.start == pytest.approx(EDGE + start / SAMPLE_RATE, abs=tolerance)
            assert word.end == pytest.approx(EDGE + end / SAMPLE_RATE, abs=tolerance)
            compared += 1
    assert compared > 40


def test_words_and_times_are_consistent(together: list[Recognition], recordings: list[Samples]) -> None:
    for heard, samples in zip(together, recordings, strict=True):
        assert heard.text == " ".join(word.text for word in heard.words)
        times = [time for word in heard.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert all(0.0 <= time <= len(samples) / SAMPLE_RATE for time in times)
        assert all(word.end > word.start for word in heard.words)
        assert all(type(time) is float for time in times)
        for confidence in (heard.confidence, *(word.confidence for word in heard.words)):
            assert type(confidence) is float
            assert 0.0 <= confidence <= 1.0


def test_a_recording_gives_the_same_alone_and_among_any_neighbours(
    engine: NemoEngine, together: list[Recognition], recordings: list[Samples]
) -> None:
    assert len({len(samples) for samples in recordings}) > 12
    alone = [engine.transcribe([samples])[0] for samples in recordings]
    assert [exact(heard) for heard in alone] == [exact(heard) for heard in together]
    backwards = engine.transcribe(recordings[::-1])[::-1]
    assert [exact(heard) for heard in backwards] == [exact(heard) for heard in together]
    long = np.concatenate(recordings)
    for samples, heard in zip(recordings[:6], together, strict=False):
        assert exact(engine.transcribe([long, samples])[1]) == exact(heard)
    for one, other in zip(alone, together, strict=True):
        pairs = zip(one.words, other.words, strict=True)
        assert all(a.confidence == pytest.approx(b.confidence, abs=1e-3) for a, b in pairs)


def test_what_holds_next_to_nothing_gives_the_same_alone_and_among_any_neighbours(
    engine: NemoEngine, recordings: list[Samples]
) -> None:
    """A feature that hardly varies is divided by next to nothing: a pause, and the upper half of a telephone call."""
    rng = np.random.default_rng(7)
    pause: Samples = np.where(rng.random(17_422) < 0.12, rng.integers(-7, 8, 17_422), 0).astype(np.float32)
    pause /= 32768
    call: Samples = soxr.resample(soxr.resample(recordings[0], SAMPLE_RATE, 8000), 8000, SAMPLE_RATE).astype(np.float32)
    for samples in (pause, call):
        (alone,) = engine.transcribe([samples])
        for count in (1, 3, 8, 20):
            beside = engine.transcribe([samples, *recordings[1 : count + 1]])[0]
            assert exact(beside) == exact(alone)
            for one, other in zip(alone.words, beside.words, strict=True):
                assert one.confidence == pytest.approx(other.confidence, abs=1e-5)


def test_several_lanes_hear_what_one_hears(
    model: Path, together: list[Recognition], recordings: list[Samples], tmp_path: Path
) -> None:
    several = NemoEngine(model, scratch=tmp_path, device="cpu", threads=3)
    several.load()
    for _ in range(3):
        assert [exact(heard) for heard in several.transcribe(recordings)] == [exact(heard) for heard in together]
    long = np.concatenate(recordings)  # longer than any table of positions so far
    assert exact(several.transcribe([*recordings, long])[0]) == exact(together[0])


@pytest.mark.parametrize("threads", [1, 2])
def test_batches_side_by_side_hear_what_they_hear_alone(
    threads: int, model: Path, together: list[Recognition], recordings: list[Samples], tmp_path: Path
) -> None:
    """Two lanes share the CPUs; one, with two callers, is what a GPU has."""
    several = NemoEngine(model, scratch=tmp_path, device="cpu", threads=threads)
    several.load()
    assert several.callers == threads
    every_third = [recordings[n::3] for n in range(3)] * 4
    with ThreadPoolExecutor(2) as callers:
        results = list(callers.map(several.transcribe, every_third))
    for n, heard in enumerate(results):
        assert [exact(one) for one in heard] == [exact(one) for one in together[n % 3 :: 3]]


def test_tokens_become_words_while_the_model_has_the_next_batch(
    engine: NemoEngine,
    model: Path,
    together: list[Recognition],
    recordings: list[Samples],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head: Any = engine._head
    name = "_tokens" if model == TINY_TDT else "_collapse"
    tokens_of = getattr(head, name)
    both = Barrier(2, timeout=60)

    def meet(*found: Any) -> Any:
        both.wait()
        return tokens_of(*found)

    monkeypatch.setattr(head, name, meet)
    with ThreadPoolExecutor(2) as callers:
        heard = list(callers.map(lambda samples: engine.transcribe([samples])[0], recordings[:2]))
    assert [exact(one) for one in heard] == [exact(one) for one in together[:2]]


def test_the_texts_are_those_of_transcribe(model: Path, together: list[Recognition], recordings: list[Samples]) -> None:
    theirs = nemo_own(model).transcribe(recordings, batch_size=1, verbose=False)
    assert [heard.text for heard in together] == [hypothesis.text for hypothesis in theirs]


def test_the_word_ends_are_those_of_transcribe_one_by_one(
    model: Path, together: list[Recognition], recordings: list[Samples]
) -> None:
    if model != TINY_TDT:
        pytest.skip("NeMo's word times for CTC are others: a word starts where the last letter before it was written")
    theirs = nemo_own(model).transcribe(recordings, batch_size=1, verbose=False, timestamps=True)
    for heard, hypothesis, samples in zip(together, theirs, recordings, strict=True):
        if len(samples) < SAMPLE_RATE:
            continue  # which NeMo does not pad where it is given arrays
        words = hypothesis.timestamp["word"]
        assert [word.text for word in heard.words] == [word["word"] for word in words]
        assert [word.start for word in heard.words] == pytest.approx([float(word["start"]) for word in words])
        assert [word.end for word in heard.words] == pytest.approx([float(word["end"]) for word in words])


def nemo_own(model: Path) -> Any:
    """The model as NeMo loads it, in NeMo's own configuration."""
    from nemo.collections.asr.models import ASRModel

    own = ASRModel.restore_from(str(model), map_location="cpu")
    own.eval()
    return own


def test_the_loop_that_a_gpu_runs_gives_the_same_words_and_times(
    together: list[Recognition], recordings: list[Samples], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    """The code of NeMo's CUDA graphs, run here without graphs; it needs the opposite setting of the CPU's loop."""
    from transcription_worker.engines import nemo_load

    if model != TINY_TDT:
        pytest.skip("a transducer's loop")
    restore = nemo_load.restore
    monkeypatch.setattr(nemo_load, "restore", lambda *place, on_gpu: restore(*place, on_gpu=True))
    engine = NemoEngine(model, scratch=tmp_path, device="cpu", threads=1)
    engine.load()
    loop = engine._model.decoding.decoding.decoding_computer
    loop.force_cuda_graphs_mode("no_graphs")
    loop.torch_impl = loop.cuda_graphs_impl
    heard = engine.transcribe(recordings)
    assert [exact(each) for each in heard] == [exact(each) for each in together]


def test_noise_and_silence_among_speech_change_nothing(
    engine: NemoEngine, together: list[Recognition], recordings: list[Samples]
) -> None:
    loud = np.clip(np.random.default_rng(1).standard_normal(8 * SAMPLE_RATE), -1, 1).astype(np.float32)
    heard = engine.transcribe([loud, recordings[0], np.zeros(5 * SAMPLE_RATE, np.float32)])
    assert exact(heard[1]) == exact(together[0])
    assert heard[2] == Recognition("")


def test_inputs_without_a_frame_are_empty_and_keep_their_place(
    engine: NemoEngine, together: list[Recognition], recordings: list[Samples]
) -> None:
    shortest = [np.zeros(size, np.float32) for size in (0, 1, 399)]
    heard = engine.transcribe([shortest[0], recordings[0], shortest[1], recordings[1], shortest[2]])
    assert [heard[0], heard[2], heard[4]] == [Recognition("")] * 3
    assert [exact(heard[1]), exact(heard[3])] == [exact(together[0]), exact(together[1])]
    assert engine.transcribe(shortest) == [Recognition("")] * 3
    assert engine.transcribe([]) == []


@pytest.mark.parametrize("size", [400, 401, 560, 1600, 15_999, 16_000, 16_001])
def test_any_length_from_one_window_on_goes_through(engine: NemoEngine, size: int) -> None:
    tone = (0.1 * np.sin(np.arange(size))).astype(np.float32)
    heard = engine.transcribe([tone, tone])
    assert heard[0].text == heard[1].text
    assert all(word.end <= size / SAMPLE_RATE for word in heard[0].words)


@pytest.mark.parametrize(
    "wrong", [np.zeros(16_000, np.int16), np.zeros(16_000), np.zeros((2, 16_000), np.float32)], ids=str
)
def test_samples_of_another_type_are_refused(engine: NemoEngine, wrong: Any) -> None:
    with pytest.raises(ValueError, match="float32"):
        engine.transcribe([wrong])


def test_nothing_is_created_while_it_transcribes(
    engine: NemoEngine, recordings: list[Samples], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary, working = tmp_path / "tmp", tmp_path / "work"
    temporary.mkdir()
    working.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(working)
    with created_in(temporary, working, engine._scratch) as names:
        Path(tempfile.mkdtemp()).rmdir()
    assert any(name.startswith("tmp") for name in names), "the watch sees what is gone again"
    with created_in(temporary, working, engine._scratch) as names:
        engine.transcribe(recordings[:4])
    assert names == []


def test_loading_writes_into_scratch_alone_and_leaves_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary, working, scratch = tmp_path / "tmp", tmp_path / "work", tmp_path / "scratch"
    for directory in (temporary, working, scratch):
        directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(working)
    with created_in(temporary, working) as names, created_in(scratch) as unpacked:
        NemoEngine(model, scratch=scratch, device="cpu", threads=1).load()
    assert names == []
    assert len(unpacked) == 1
    assert unpacked[0].startswith("nemo_")
    assert not list(scratch.iterdir())
    assert Path.cwd() == working


def test_the_weights_are_those_of_the_archive(engine: NemoEngine, model: Path) -> None:
    import torch

    theirs = nemo_own(model).state_dict()
    ours = engine._model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not any(module.training for module in engine._model.modules())


def test_the_weights_stay_in_the_archive(engine: NemoEngine, model: Path) -> None:
    assert sum(str(model) in line for line in Path("/proc/self/maps").read_text().splitlines()) >= 1


def test_a_compressed_model_is_the_same_model(engine: NemoEngine, model: Path, tmp_path: Path) -> None:
    """Its weights are unpacked, into scratch, and gone when it is loaded."""
    packed, scratch = tmp_path / "packed.nemo", tmp_path / "scratch"
    packed.write_bytes(gzip.compress(model.read_bytes()))
    other = NemoEngine(packed, scratch=scratch, device="cpu", threads=1)
    other.load()
    theirs = other._model.state_dict()
    assert all(bool((value == theirs[name]).all()) for name, value in engine._model.state_dict().items())
    assert not list(scratch.iterdir())


def test_bfloat16_hears_the_same_words(
    model: Path, together: list[Recognition], recordings: list[Samples], tmp_path: Path
) -> None:
    engine = NemoEngine(model, scratch=tmp_path, device="cpu", threads=1, precision="bfloat16")
    engine.load()
    assert engine.precision == "bfloat16"
    texts = [heard.text for heard in engine.transcribe(recordings)]
    assert sum(a == b.text for a, b in zip(texts, together, strict=True)) >= len(texts) - 1


def test_weights_in_bfloat16_compute_what_autocast_makes_of_them(
    model: Path, recordings: list[Samples], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    halved = NemoEngine(model, scratch=tmp_path, device="cpu", threads=1, precision="bfloat16")
    halved.load()
    monkeypatch.setattr("transcription_worker.engines.nemo_load.halve_weights", lambda encoder: None)
    whole = NemoEngine(model, scratch=tmp_path, device="cpu", threads=1, precision="bfloat16")
    whole.load()
    own, theirs = (sum(p.nbytes for p in engine._model.encoder.parameters()) for engine in (halved, whole))
    assert own < 0.55 * theirs
    with torch.inference_mode():
        heard, lengths = halved._encode(recordings, "bfloat16")
        expected, expected_lengths = whole._encode(recordings, "bfloat16")
    assert torch.equal(heard, expected) and torch.equal(lengths, expected_lengths)


def test_confidence_only_where_it_is_asked_for(
    model: Path, together: list[Recognition], recordings: list[Samples], tmp_path: Path
) -> None:
    engine = NemoEngine(model, scratch=tmp_path, device="cpu", threads=1, confidence=False)
    engine.load()
    heard = engine.transcribe(recordings[:3])
    assert [each.text for each in heard] == [each.text for each in together[:3]]
    assert all(each.confidence is None for each in heard)
    assert [exact(each) for each in heard] == [exact(each) for each in together[:3]]
    assert all(word.confidence is None for each in heard for word in each.words)


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """The tiny CTC model as old ones are: its convolutions run over the padding."""
    from nemo.collections.asr.models import EncDecCTCModel

    tiny = nemo_own(TINY_CTC)
    config = tiny.cfg.copy()
    config.encoder.conv_mask = False
    model = EncDecCTCModel(cfg=config)
    model.load_state_dict({name.replace(".conv.weight", ".weight"): value for name, value in tiny.state_dict().items()})
    model.save_to(str(tmp_path / "leaky.nemo"))
    return tmp_path / "leaky.nemo"


def test_a_model_that_hears_the_padding_works_recordings_one_by_one(
    leaky: Path, recordings: list[Samples], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = NemoEngine(leaky, scratch=tmp_path / "scratch", device="cpu", threads=1)
    with caplog.at_level(logging.WARNING):
        engine.load()
    assert "one by one" in caplog.text
    together = engine.transcribe(recordings)
    alone = [engine.transcribe([samples])[0] for samples in recordings]
    assert together == alone
    engine._rows_together = True
    assert engine.transcribe(recordings) != alone, "the model does leak"
