"""The engine in a process of its own: what it prints, what it takes of the machine, what a full memory does to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.engine_models import TINY_CTC, TINY_TDT

pytestmark = [pytest.mark.model, pytest.mark.slow]

START = """
import sys
from pathlib import Path
import numpy as np
from transcription_worker.engines.nemo import NemoEngine
from transcription_worker.engines.protocol import OutOfMemory

engine = NemoEngine(Path(sys.argv[1]), scratch=Path(sys.argv[2]), device="cpu")
engine.load()
noise = np.random.default_rng(0).standard_normal(16000 * 60).astype(np.float32) * 0.1
"""


def run(code: str, model: Path, scratch: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", START + code, str(model), str(scratch)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("model", [TINY_CTC, TINY_TDT], ids=["ctc", "tdt"])
def test_neither_loading_nor_transcribing_prints_anything(model: Path, tmp_path: Path) -> None:
    done = run("engine.transcribe([noise[:48000], noise[:16000]])", model, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_worker_s_own_log_goes_on_as_it_was_set_up(tmp_path: Path) -> None:
    before = """
import logging
logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
log = logging.getLogger("transcription_worker.test")
"""
    done = subprocess.run(
        [sys.executable, "-c", before + START + "log.info('still here')", str(TINY_CTC), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert lines[-1] == "transcription_worker.test still here"
    assert all(line.startswith("transcription_worker.") for line in lines), lines


@pytest.mark.parametrize(("environment", "threads"), [({"OMP_NUM_THREADS": "1"}, 1), ({"OMP_NUM_THREADS": ""}, None)])
def test_threads_follow_the_environment_or_the_cpus_that_may_be_used(
    environment: dict[str, str], threads: int | None, tmp_path: Path
) -> None:
    code = """
from transcription_worker.resources import cpu_count
print(engine._lanes.count, cpu_count())
"""
    done = run(code, TINY_CTC, tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    used, usable = map(int, done.stdout.split())
    assert used == (threads or usable)


def test_a_batch_that_does_not_fit_is_out_of_memory_and_a_smaller_one_works_on(tmp_path: Path) -> None:
    code = """
import resource
small = [noise[:32000]]
before = engine.transcribe(small)
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + (600 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    engine.transcribe([np.tile(noise, 20)])
except OutOfMemory as error:
    print("out of memory")
print(engine.transcribe(small) == before)
"""
    done = run(code, TINY_CTC, tmp_path)
    assert done.stdout.splitlines() == ["out of memory", "True"], done.stderr
