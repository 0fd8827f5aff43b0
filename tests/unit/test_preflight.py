"""What `sweep --check-model` finds out before a GPU waits, for models on volumes and hubs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.jobs import TINY_CTC
from transcription_api.load import load_manifest
from transcription_worker.errors import ConfigurationError, RetryableError
from transcription_worker.job_context import JobContext
from transcription_worker.model_source import ModelSource, Probe
from transcription_worker.preflight import check_model

VOLUME = {"volume": {"claimName": "models", "path": "tiny.nemo"}}
HUB = {"name": "nvidia/parakeet"}
HEAVY = {"torch", "nemo", "numpy", "boto3", "prometheus_client", "http.server"}


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the model's volume is mounted."""
    monkeypatch.setenv("TRANSCRIPTION_MODEL_DIR", str(tmp_path / "model"))
    (tmp_path / "model").mkdir()
    return tmp_path / "model"


def context(model: dict[str, Any], **scratch: str) -> JobContext:
    manifest = {
        "apiVersion": "transcription-operator.io/v1alpha1",
        "kind": "TranscriptionJob",
        "metadata": {"name": "job"},
        "spec": {
            "input": {"uri": "s3://calls/"},
            "output": {"uri": "s3://transcripts/"},
            "model": model,
            "workers": {"scratch": {"minFree": "1Mi", **scratch}},
        },
    }
    return JobContext(load_manifest(json.dumps(manifest) + "\n", local=False))


def test_a_model_on_its_volume_passes_and_needs_no_cache(scratch: Path, models: Path, tmp_path: Path) -> None:
    (models / "tiny.nemo").symlink_to(TINY_CTC)
    check_model(context(VOLUME), scratch, Path("/proc/no/cache"))


def test_a_model_that_is_not_on_its_volume_is_named(scratch: Path, models: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"tiny\.nemo does not exist; check the model's path and what is mount"
    ):
        check_model(context(VOLUME), scratch, tmp_path / "cache")


@pytest.mark.parametrize("body", [b"", b"version https://git-lfs.github.com/spec/v1\n" * 30, b"PK\3\4" + bytes(1000)])
def test_what_is_no_archive_is_refused(scratch: Path, models: Path, tmp_path: Path, body: bytes) -> None:
    (models / "tiny.nemo").write_bytes(body)
    with pytest.raises(ConfigurationError, match=r"is empty|is not a \.nemo archive"):
        check_model(context(VOLUME), scratch, tmp_path / "cache")


def test_a_hub_name_is_checked_as_a_name_and_nothing_is_asked(scratch: Path, tmp_path: Path) -> None:
    check_model(context(HUB), scratch, tmp_path / "cache")
    with pytest.raises(ConfigurationError, match="write nvidia/parakeet"):
        check_model(context({"name": "parakeet"}), scratch, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_is_refused(scratch: Path, tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"/proc/sys/cache cannot be written by user \d+: mount a volume"):
        _as_nobody(lambda: check_model(context(HUB), scratch, Path("/proc/sys/cache")), monkeypatch)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="is no directory"):
        check_model(context(HUB), scratch, tmp_path / "file")


def _as_nobody(act: Any, monkeypatch: Any) -> None:
    """root may write everywhere, so what access(2) would tell others is put in its place."""
    if os.geteuid() == 0:
        monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith("/proc/sys"))
    act()


def filled(monkeypatch: pytest.MonkeyPatch, cache: Path, *, share: float) -> None:
    """A model that takes this share of what is free on the cache's disk."""
    disk = os.statvfs(cache.parent)
    size = int(disk.f_bavail * disk.f_frsize * share)
    monkeypatch.setattr(ModelSource, "probe", lambda self, cache: Probe(size, size))


def test_a_cache_on_the_disk_of_scratch_leaves_it_its_room(
    scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    filled(monkeypatch, cache, share=0.5)
    check_model(context(HUB, minFree="1Mi"), scratch, cache)
    disk = os.statvfs(tmp_path)
    with pytest.raises(RetryableError, match="beside the minFree of scratch: give it a larger volume"):
        check_model(context(HUB, minFree=str(disk.f_bavail * disk.f_frsize * 3 // 4)), scratch, cache)


def test_a_disk_that_never_holds_the_model_is_a_matter_of_configuration(
    scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelSource, "probe", lambda self, cache: Probe(1 << 50, 1 << 50))
    with pytest.raises(ConfigurationError, match=r"has \d+ bytes free and needs \d+ for a model of \d+ bytes"):
        check_model(context(HUB), scratch, tmp_path / "cache")


def test_the_check_imports_no_toolkit_and_no_metrics(scratch: Path, models: Path, tmp_path: Path) -> None:
    (models / "tiny.nemo").symlink_to(TINY_CTC)
    code = (
        "import sys\nfrom transcription_worker.cli import worker_main\n"
        f"code = worker_main(['sweep', '--check-model', '--scratch', {str(scratch)!r}, '--cache', 'cache'])\n"
        f"print(code, sorted({HEAVY!r} & set(sys.modules)))"
    )
    job = json.dumps(context(VOLUME).job.to_manifest())
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TRANSCRIPTION_JOB": job},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines()[-1] == "0 []", ran.stderr
