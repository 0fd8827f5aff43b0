"""Transducers and hybrid models: both heads, the right order, and the texts of NeMo's own transcribe()."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.engine_models import TINY_CTC, created_in, random_transducer
from transcription_worker.engines.nemo import NemoEngine
from transcription_worker.engines.protocol import Recognition, Samples
from transcription_worker.errors import ConfigurationError

pytestmark = [pytest.mark.model, pytest.mark.slow]


@pytest.fixture(scope="module")
def recordings() -> list[Samples]:
    """Not speech, for these models know none: tones that rise and fall, in noise, 1 to 9 seconds long."""
    rng = np.random.default_rng(5)
    made = []
    for seconds in (3.0, 1.0, 9.0, 1.7, 5.2, 1.2):
        time = np.arange(round(seconds * 16_000)) / 16_000
        sweep = np.sin(2 * np.pi * (300 * time + 250 * np.sin(rng.uniform(3, 9) * time)))
        made.append((0.2 * sweep + 0.05 * rng.standard_normal(len(time))).astype(np.float32))
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def rnnt(folder: Path) -> Path:
    return random_transducer(folder / "rnnt.nemo")


@pytest.fixture(scope="module")
def rnnt_of_characters(folder: Path) -> Path:
    return random_transducer(folder / "characters.nemo", characters=True)


@pytest.fixture(scope="module")
def hybrid(folder: Path) -> Path:
    return random_transducer(folder / "hybrid.nemo", hybrid=True)


def loaded(model: Path, scratch: Path, **options: Any) -> NemoEngine:
    engine = NemoEngine(model, scratch=scratch, device="cpu", threads=1, **options)
    engine.load()
    return engine


def texts_of_transcribe(model: Path, recordings: list[Samples], head: str) -> list[str]:
    from nemo.collections.asr.models import ASRModel

    own = ASRModel.restore_from(str(model), map_location="cpu")
    own.eval()
    if head == "ctc":
        own.change_decoding_strategy(decoder_type="ctc", verbose=False)
    heard = own.transcribe(recordings, batch_size=1, verbose=False)
    return [" ".join(hypothesis.text.split()) for hypothesis in heard]


@pytest.mark.parametrize("name", ["rnnt", "rnnt_of_characters", "hybrid"])
def test_a_transducer_writes_what_transcribe_writes(
    name: str, recordings: list[Samples], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model: Path = request.getfixturevalue(name)
    check(loaded(model, tmp_path), recordings, texts_of_transcribe(model, recordings, "rnnt"), tmp_path)


def test_the_ctc_head_of_a_hybrid_writes_what_transcribe_writes(
    hybrid: Path, recordings: list[Samples], tmp_path: Path
) -> None:
    engine = loaded(hybrid, tmp_path, decoder="ctc")
    check(engine, recordings, texts_of_transcribe(hybrid, recordings, "ctc"), tmp_path)


def check(engine: NemoEngine, recordings: list[Samples], expected: list[str], scratch: Path) -> None:
    with created_in(scratch) as names:
        together = engine.transcribe(recordings)
    assert names == []
    assert [heard.text for heard in together] == expected
    assert len(set(expected)) > 1, "the model writes something, and not always the same"
    for heard, samples in zip(together, recordings, strict=True):
        assert heard.text == " ".join(word.text for word in heard.words)
        times = [time for word in heard.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert all(0.0 <= time <= len(samples) / 16_000 for time in times)
    alone = [engine.transcribe([samples])[0] for samples in recordings]
    assert [exact(heard) for heard in alone] == [exact(heard) for heard in together]


def exact(recognition: Recognition) -> list[tuple[str, float, float]]:
    return [(word.text, word.start, word.end) for word in recognition.words]


def test_the_heads_of_a_hybrid_are_two(hybrid: Path, recordings: list[Samples], tmp_path: Path) -> None:
    default, rnnt, ctc = (
        [heard.text for heard in loaded(hybrid, tmp_path, decoder=head).transcribe(recordings)]
        for head in (None, "rnnt", "ctc")
    )
    assert default == rnnt
    assert rnnt != ctc


def test_a_head_that_the_model_does_not_have(rnnt: Path, tmp_path: Path) -> None:
    for model, head in ((TINY_CTC, "rnnt"), (rnnt, "ctc")):
        with pytest.raises(ConfigurationError, match=f"has no {head} decoder"):
            loaded(model, tmp_path, decoder=head)


def test_local_attention_hears_the_same_in_what_it_can_overlook(rnnt: Path, tmp_path: Path) -> None:
    """In recordings shorter than the window it is full attention; in one of a minute it is not."""
    rng = np.random.default_rng(6)
    short = [(0.1 * rng.standard_normal(round(seconds * 16_000))).astype(np.float32) for seconds in (9.0, 3.0, 5.0)]
    full, local = (loaded(rnnt, tmp_path, attention=attention) for attention in (None, "local"))
    assert [exact(heard) for heard in local.transcribe(short)] == [exact(heard) for heard in full.transcribe(short)]
    assert [exact(heard) for heard in local.transcribe(short[:1])] == [exact(local.transcribe(short)[0])]
    assert type(full._model.encoder.layers[0].self_attn) is not type(local._model.encoder.layers[0].self_attn)
    assert not local._model.encoder.layers[0].self_attn.training


def test_full_attention_is_that_of_a_model_that_was_trained_with_it(rnnt: Path, tmp_path: Path) -> None:
    trained, asked = (loaded(rnnt, tmp_path, attention=attention) for attention in (None, "full"))
    assert type(trained._model.encoder.layers[0].self_attn) is type(asked._model.encoder.layers[0].self_attn)


def test_a_model_that_cannot_attend_locally_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"leave spec\.transcription\.attention out"):
        loaded(TINY_CTC, tmp_path, attention="local")


def test_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    engine = NemoEngine(TINY_CTC, scratch=tmp_path, device="cuda")
    with pytest.raises(ConfigurationError, match=r"spec\.workers\.gpus asks for GPUs and none is visible"):
        engine.load()
