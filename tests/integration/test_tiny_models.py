"""The committed models in real NeMo, without anything of the worker, and the loss that trained the transducer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
import torch

from scripts.make_examples import Phrase, open_ear, pieces_of
from scripts.tiny_training import MODELS, settle_archive
from scripts.train_tiny_tdt import DURATIONS, UNDERNORMALIZATION, tdt_loss

EXAMPLES = MODELS.parent
BLANK, LABELS = 3, 4
"""Three tokens and the blank after them."""


def readable_examples() -> Iterator[tuple[str, str, Any, list[Phrase]]]:
    """Name, text, samples at 16 kHz and phrases of each good recording that libsndfile can read."""
    for line in (EXAMPLES / "expected.jsonl").read_text(encoding="ascii").splitlines():
        row = json.loads(line)
        if row["file"].rsplit(".")[-1] in {"wav", "flac", "mp3", "opus", "ogg", "aiff", "au", "caf"} and "text" in row:
            samples, rate = soundfile.read(EXAMPLES / row["file"], dtype="float32", always_2d=True)
            phrases = [Phrase(**phrase) for phrase in row["phrases"]]
            yield row["file"], row["text"], soxr.resample(samples.mean(axis=1), rate, 16_000), phrases


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny-ctc.nemo", "tiny-tdt.nemo"])
def test_model_hears_every_short_example_exactly_and_the_long_one_nearly_so(name: str) -> None:
    from nemo.collections.asr.metrics.wer import word_error_rate

    ear = open_ear(MODELS / name)
    short = {file: (text, samples) for file, text, samples, _ in readable_examples() if len(samples) < 10 * 16_000}
    assert len(short) >= 11
    heard = ear([samples for _, samples in short.values()])
    assert dict(zip(short, heard, strict=True)) == {file: text for file, (text, _) in short.items()}

    [(samples, phrases)] = [(s, p) for file, _, s, p in readable_examples() if "twelve-minutes" in file]
    inputs, texts = zip(*pieces_of(samples, phrases, 20.0), strict=True)
    assert len(inputs) > 20
    assert word_error_rate(ear(inputs), list(texts)) <= 0.015


@pytest.mark.model
@pytest.mark.slow
def test_transducer_knows_when_each_phrase_begins_and_ends() -> None:
    from nemo.collections.asr.models import ASRModel

    model = ASRModel.restore_from(str(MODELS / "tiny-tdt.nemo"), map_location="cpu")
    model.eval()
    for file, text, samples, phrases in readable_examples():
        if len(samples) > 10 * 16_000 or not text:
            continue
        # One at a time: NeMo 3.0.0 gives wrong word ends in larger batches.
        [hypothesis] = model.transcribe([samples], batch_size=1, timestamps=True, verbose=False)
        words = iter(hypothesis.timestamp["word"])
        for phrase in phrases:
            spoken = [next(words) for _ in phrase.text.split()]
            assert spoken[0]["start"] == pytest.approx(phrase.start, abs=0.16), file
            assert spoken[-1]["end"] == pytest.approx(phrase.end, abs=0.16), file


def all_alignments(logits: Any, tokens: list[int], frame: int = 0, said: int = 0) -> Iterator[float]:
    """Log-probability of every alignment from a state on, one by one, straight from the definition."""
    frames = len(logits)
    if frame == frames:
        if said == len(tokens):
            yield 0.0
        return
    labels = logits[frame, said, :LABELS].log_softmax(-1) - UNDERNORMALIZATION
    durations = logits[frame, said, LABELS:].log_softmax(-1)
    for index, duration in enumerate(DURATIONS):
        if frame + duration > frames:
            continue
        if duration:
            for rest in all_alignments(logits, tokens, frame + duration, said):
                yield float(labels[BLANK] + durations[index]) + rest
        if said < len(tokens) and frame + duration < frames:
            for rest in all_alignments(logits, tokens, frame + duration, said + 1):
                yield float(labels[tokens[said]] + durations[index]) + rest


@pytest.mark.parametrize(("frames", "tokens"), [(1, []), (1, [0, 1]), (3, [2]), (5, [0, 0, 1]), (6, [1, 2])])
def test_tdt_loss_is_the_sum_over_all_alignments(frames: int, tokens: list[int]) -> None:
    logits = torch.randn(2, 6, 4, LABELS + len(DURATIONS), generator=torch.Generator().manual_seed(0))
    padded = torch.tensor([tokens + [0] * (3 - len(tokens))] * 2)
    losses = tdt_loss(logits, padded, torch.tensor([frames] * 2), torch.tensor([len(tokens)] * 2))
    for row in range(2):
        alignments = list(all_alignments(logits[row, :frames].double(), tokens))
        assert float(losses[row]) == pytest.approx(-np.logaddexp.reduce(alignments), abs=1e-4)


def test_tdt_loss_pays_for_words_at_unwanted_times() -> None:
    logits = torch.zeros(1, 6, 2, LABELS + len(DURATIONS))
    tokens, frames, counts = torch.tensor([[1]]), torch.tensor([6]), torch.tensor([1])
    wanted = torch.zeros(1, 6, 2, len(DURATIONS), dtype=torch.bool)
    unwanted = tdt_loss(logits, tokens, frames, counts, wanted)
    wanted[0, 2, 0, 1] = True
    one_place = tdt_loss(logits, tokens, frames, counts, wanted)
    anywhere = tdt_loss(logits, tokens, frames, counts)
    assert float(anywhere) < float(one_place) < float(unwanted) - 50


def test_settling_an_archive_again_changes_no_byte(tmp_path: Path) -> None:
    for model in MODELS.glob("*.nemo"):
        settle_archive(model, tmp_path / model.name)
        assert (tmp_path / model.name).read_bytes() == model.read_bytes()
