"""The worker's metrics: right figures under the names that docs/metrics.md gives, and no cost to who does not ask."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.jobs import REPOSITORY
from transcription_worker.errors import Reason
from transcription_worker.metrics import HELP, PREFIX, metrics_page
from transcription_worker.outcome import Outcome, State
from transcription_worker.pipeline import Depths
from transcription_worker.progress import Progress
from transcription_worker.scratch import Scratch

ROW = re.compile(r"\| `(transcription_worker_\w+)` \| (\w+) \| ([^|]*)\|")


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Scratch]:
    with Scratch(tmp_path / "scratch", min_free_bytes=0) as scratch:
        yield scratch


@pytest.fixture
def progress() -> Progress:
    return Progress()


def read(
    progress: Progress, scratch: Scratch, depths: Depths | None = None
) -> dict[tuple[str, tuple[str, ...]], float]:
    """(sample, values of its labels in the order of their names) -> value."""
    text = metrics_page(progress, scratch, lambda: depths or Depths())().decode()
    return {
        (sample.name.removeprefix(PREFIX), tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_page_and_its_documentation_name_the_same_metrics(
    progress: Progress, scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_cuda(monkeypatch)
    progress.model_loaded(1.0, {})
    progress.retried(Reason.TIMEOUT)
    progress.settled(outcome(State.DONE), shard=0)
    text = metrics_page(progress, scratch, Depths)().decode()
    shown = dict(re.findall(r"^# TYPE (transcription_worker_\w+) (\w+)$", text, re.MULTILINE))
    documented = ROW.findall((REPOSITORY / "docs/metrics.md").read_text())
    assert {name: kind for name, kind, _ in documented} == shown
    assert set(shown) == {PREFIX + name for name in HELP}
    labels = dict(re.findall(r"^(transcription_worker_\w+)\{(.*)\} ", text, re.MULTILINE))
    for name, _, said in documented:
        used = set(re.findall(r"(\w+)=", labels.get(name, "")))
        assert used == set(re.findall(r"`(\w+)`", said)), name


def outcome(state: State, reason: Reason | None = None) -> Outcome:
    return Outcome(key="a", etag="e", size=5, state=state, reason=reason, duration=30.0, model_seconds=0.5)


def test_what_happened_is_counted(progress: Progress, scratch: Scratch) -> None:
    progress.model_digest = "sha256:abc"
    progress.settled(outcome(State.DONE), shard=0)
    progress.settled(outcome(State.DONE), shard=0)
    progress.settled(outcome(State.FAILED, Reason.CORRUPT), shard=1)
    progress.fetched(1000)
    progress.fetched(24)
    progress.batch_done(90.0, 0.5, 100.0)
    progress.batch_done(30.0, 0.25, 60.0)
    progress.model_loaded(3.5, {})
    found = read(progress, scratch, Depths(taken=8, waiting=3, audio_seconds=12.5))
    assert found["recordings_total", ("", "done")] == 2
    assert found["recordings_total", ("Corrupt", "failed")] == 1
    assert found["audio_seconds_total", ()] == 60
    assert found["fetched_bytes_total", ()] == 1024
    assert (found["batches_total", ()], found["model_seconds_total", ()]) == (2, 0.75)
    assert found["model_audio_seconds_total", ()] == 120
    assert (found["model_load_seconds", ()], found["ready", ()]) == (3.5, 1)
    assert (found["queue_depth", ("taken",)], found["queue_depth", ("read",)]) == (8, 3)
    assert found["buffered_audio_seconds", ()] == 12.5
    assert [value for name, value in found.items() if name[0] == "info"] == [1]


def test_batch_fill_is_a_cumulative_histogram(progress: Progress, scratch: Scratch) -> None:
    for audio in (40.0, 55.0, 90.0, 100.0):
        progress.batch_done(audio, 0.1, 100.0)
    found = read(progress, scratch)
    buckets = {float(labels[0]): value for (name, labels), value in found.items() if name == "batch_fill_ratio_bucket"}
    assert (buckets[0.5], buckets[0.6], buckets[0.85], buckets[0.9], buckets[1.0]) == (1, 2, 2, 3, 4)
    assert buckets[float("inf")] == found["batch_fill_ratio_count", ()] == 4
    assert found["batch_fill_ratio_sum", ()] == pytest.approx(2.85)


def test_scratch_is_measured_where_it_lies(progress: Progress, tmp_path: Path) -> None:
    root = tmp_path / "scratch"
    dead = root / f"owner-{'f' * 32}"
    dead.mkdir(parents=True)
    dead.with_suffix(".lease").touch()
    with Scratch(root, min_free_bytes=0) as scratch, scratch.file("wav") as path:
        path.write_bytes(bytes(1 << 20))
        found = read(progress, scratch)
    assert found["scratch_bytes", ()] >= 1 << 20
    assert found["scratch_free_bytes", ()] > 0
    assert found["orphans_removed_total", ()] == 1
    assert found["sweep_failures_total", ()] == 0


def test_the_process_itself_is_told_too(progress: Progress, scratch: Scratch) -> None:
    found = read(progress, scratch)
    assert found["process_resident_memory_bytes", ()] > 0
    assert ("process_cpu_seconds_total", ()) in found


def use_cuda(monkeypatch: pytest.MonkeyPatch, *, started: bool = True) -> None:
    """A module in torch's place that says what it would say on a card: there is none here."""
    cuda = types.SimpleNamespace(
        is_initialized=lambda: started,
        mem_get_info=lambda: (60, 80),
        memory_allocated=lambda: 15,
        memory_reserved=lambda: 20,
    )
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))


def test_gpu_memory_is_told_where_cuda_runs(
    progress: Progress, scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_cuda(monkeypatch)
    assert not gpu(read(progress, scratch))
    progress.model_loaded(1.0, {})
    assert gpu(read(progress, scratch)) == {"allocated": 15, "reserved": 20, "free": 60, "total": 80}
    use_cuda(monkeypatch, started=False)
    assert not gpu(read(progress, scratch))


def gpu(found: dict[tuple[str, tuple[str, ...]], float]) -> dict[str, float]:
    return {labels[0]: value for (name, labels), value in found.items() if name == "gpu_memory_bytes"}


def test_a_scrape_imports_no_toolkit() -> None:
    code = (
        "import sys, pathlib\n"
        "from transcription_worker.metrics import metrics_page\n"
        "from transcription_worker.pipeline import Depths\n"
        "from transcription_worker.progress import Progress\n"
        "from transcription_worker.scratch import Scratch\n"
        "import tempfile\n"
        "with tempfile.TemporaryDirectory() as root, Scratch(pathlib.Path(root) / 's', min_free_bytes=0) as scratch:\n"
        "    progress = Progress()\n"
        "    progress.model_loaded(1.0, {})\n"
        "    assert b'scratch_bytes' in metrics_page(progress, scratch, Depths)()\n"
        "print(sorted({'torch', 'nemo'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout == "[]\n", ran.stderr


def test_who_does_not_listen_does_not_import_the_metrics() -> None:
    code = (
        "import sys\nimport transcription_worker.cli, transcription_worker.work_job\n"
        "print(sorted({'prometheus_client', 'transcription_worker.metrics'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
