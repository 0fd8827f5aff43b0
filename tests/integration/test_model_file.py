"""The model of a worker on its way: what is done meanwhile, and when it is given up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs import TINY_CTC
from transcription_worker.flow import Stopped
from transcription_worker.model_file import ModelFile
from transcription_worker.model_source import ModelRequest, ModelSource, sha256_of
from transcription_worker.progress import Progress
from transcription_worker.scratch import Scratch
from transcription_worker.store.protocol import Arrived

IMPORTED_MEANWHILE = """
import sys, time
from pathlib import Path
from tests.jobs import TINY_CTC
from transcription_worker.engines.nemo import NemoEngine
from transcription_worker.engines.toolkit import importing
from transcription_worker.model_source import ModelRequest, ModelSource
from transcription_worker.progress import Progress
from transcription_worker.scratch import Scratch
from transcription_worker.model_file import ModelFile

class Slow(ModelSource):
    def fetch(self, cache, scratch, arrived):
        assert "torch" not in sys.modules
        arrived(1)
        arrived(1)
        deadline = time.monotonic() + 120
        while (importing() or "transcription_worker.engines.nemo_load" not in sys.modules):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return TINY_CTC

folder = Path(sys.argv[1])
with Scratch(folder, min_free_bytes=0) as scratch:
    path, _ = ModelFile(Slow(ModelRequest(path=TINY_CTC)), "tiny", folder, scratch, Progress()).archive()
    engine = NemoEngine(path, scratch=scratch.path)
    engine.load()
    print(engine.load_seconds["torch"] + engine.load_seconds["toolkit"])
"""


def test_the_toolkit_is_imported_while_the_model_arrives(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED_MEANWHILE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1]) < 0.5, "what is imported is not imported again"


def test_a_download_is_given_up_when_the_worker_ends(tmp_path: Path) -> None:
    progress = Progress()

    class Arriving(ModelSource):
        def fetch(self, cache: Path, scratch: Scratch, arrived: Arrived | None = None) -> Path:
            assert arrived
            progress.ending = True
            arrived(1)
            raise AssertionError("it goes on")

    with Scratch(tmp_path, min_free_bytes=0) as scratch:
        model = ModelFile(Arriving(ModelRequest(path=TINY_CTC)), "tiny", tmp_path, scratch, progress)
        for _ in range(2):
            with pytest.raises(Stopped):
                model.archive()


def test_what_is_there_already_is_told_before_it_is_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gigabytes take seconds: the toolkit is imported meanwhile."""
    pinned = ModelSource(ModelRequest(path=TINY_CTC, sha256=sha256_of(TINY_CTC)))
    told: list[int] = []

    def hashed(path: Path) -> str:
        assert told == [0]
        return sha256_of(path)

    monkeypatch.setattr("transcription_worker.model_source.sha256_of", hashed)
    with Scratch(tmp_path, min_free_bytes=0) as scratch:
        assert pinned.fetch(tmp_path / "cache", scratch, told.append) == TINY_CTC
