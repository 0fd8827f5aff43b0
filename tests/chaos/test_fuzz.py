"""The fuzzer's short form: `python -m tests.chaos.fuzz` is the long one."""

from __future__ import annotations

import os
import shutil
from itertools import islice
from pathlib import Path

import pytest

from tests.chaos.fuzz import Figures, fuzz, replay
from tests.chaos.fuzz_bombs import BOMBS
from tests.chaos.fuzz_cases import cases
from tests.chaos.fuzz_decode import DECODED
from tests.chaos.fuzz_seeds import Seed
from tests.conftest import require_server

SEED = 7
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def ffmpeg() -> None:
    if shutil.which("ffmpeg") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("ffmpeg is not installed: no file can be made to be damaged")
        pytest.skip("ffmpeg is not installed: install it to fuzz")


def assert_innocent(figures: Figures, keep: Path) -> None:
    assert figures.guilty == [], f"seed {figures.seed}, inputs in {keep}"
    assert figures.left_in_scratch == 0


def test_damaged_files_and_bombs_become_a_reason_or_sound(tmp_path: Path) -> None:
    figures = fuzz(250 + len(BOMBS), SEED, 0, tmp_path)
    print(figures)
    assert_innocent(figures, tmp_path)
    assert figures.inputs == 250 + len(BOMBS)
    # A fuzzer whose files all fail at the door, or all pass, would test little.
    for outcome in (DECODED, "Corrupt", "Truncated", "UnsupportedFormat", "Empty", "TooLong"):
        assert figures.outcomes[outcome] > 0


@pytest.mark.s3
@pytest.mark.model
def test_a_whole_job_says_of_hostile_files_what_decoding_alone_says(tmp_path: Path) -> None:
    require_server()
    figures = fuzz(80, SEED + 1, 40, tmp_path, bombs=False)
    print(figures)
    assert_innocent(figures, tmp_path)
    assert figures.work is not None
    assert sum(figures.work.outcomes.values()) == figures.work.inputs == 40


def test_the_same_seed_gives_the_same_files() -> None:
    seeds = [Seed("any", "ogg", b"OggS" + bytes(range(256)) * 8)]
    first, second = (list(islice(cases(10_000, SEED, seeds, bombs=False), 250)) for _ in range(2))
    assert first == second


def test_a_kept_file_is_decoded_again(tmp_path: Path) -> None:
    (tmp_path / "kept.bin").write_bytes(b"RIFF")
    (verdict,) = replay([tmp_path / "kept.bin"])
    assert verdict.outcome == "Truncated"
    assert verdict.faults == ()
