"""The benchmark for a GPU runs to its end without one, on a model of its kind and a minute of audio."""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.bench import bench_gpu
from tests.bench.example_speech import PART_SECONDS, RATE, speech
from tests.bench.large_model import build_model

pytestmark = [pytest.mark.model, pytest.mark.slow]


def test_every_figure_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_gpu, "FOLDER", tmp_path)
    small = ["--kind", "ctc", "--width", "64", "--layers", "2", "--hours", "0.01", "--batch-seconds", "60"]
    monkeypatch.setattr(sys, "argv", ["bench_gpu", *small])
    bench_gpu.main()
    told = capsys.readouterr().out
    for row in ("model alone", "NeMo's transcribe()", "ours, files to files", "ours, once it has started"):
        assert float(re.search(rf"{re.escape(row)} +(\d+)", told)[1]) > 0, told  # type: ignore[index]
    letters = float(re.search(r"\(([\d.]+) letters per second\)", told)[1])  # type: ignore[index]
    assert 0.5 < letters < 50, "the decoder says as much as one of speech"
    parts = re.search(r"features (\d+)%, encoder (\d+)%, decoder (\d+)%, host (\d+)%", told)
    assert parts and 97 <= sum(map(int, parts.groups())) <= 103, told
    assert not list(tmp_path.glob("*.unfinished"))


def test_a_transducer_goes_the_same_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_gpu, "FOLDER", tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as where parts are clocked
    monkeypatch.setenv("PATH", "")  # no program of the machine's has a part in it
    model = tmp_path / "tdt.nemo"
    build_model("tdt", model, width=64, layers=2)
    audio = 20.0
    alone = bench_gpu.model_alone(model, bench_gpu.pieces(audio), batch_seconds=60, parts=True)
    assert set(alone["parts"]) == {"features", "encoder", "decoder", "host"}
    assert all(seconds > 0 for seconds in alone["parts"].values()), alone
    theirs = bench_gpu.transcribe(model, bench_gpu.pieces(audio), batch_seconds=60, parts=False)
    for one in (alone, theirs):
        assert one["rate"] > 0
        assert 0.5 < one["letters"] < 50, "the decoder says as much as one of speech"


def test_its_audio_is_speech_and_not_silence() -> None:
    for part in itertools.islice(speech(), 20):
        assert len(part) == PART_SECONDS * RATE
        assert np.count_nonzero(part) > 0.5 * len(part)
        assert np.sqrt(np.square(part).mean()) > 0.01
