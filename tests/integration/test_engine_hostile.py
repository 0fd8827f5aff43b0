"""Models that are not what they say: loading one runs nothing, leaves nothing, and says so in one sentence."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.engine_models import TINY_CTC
from transcription_worker.engines.nemo import NemoEngine
from transcription_worker.errors import ConfigurationError, RetryableError
from transcription_worker.nemo_archive import WEIGHTS, unpack
from transcription_worker.nemo_config import CONFIG

pytestmark = [pytest.mark.model, pytest.mark.slow]


class Command:
    """Unpickling this runs a shell command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


def changed(place: Path, **parts: bytes) -> Path:
    """The tiny CTC model with other parts, its own where none is given."""
    with tarfile.open(TINY_CTC) as source, tarfile.open(place, "w") as target:
        for member in source:
            stream = source.extractfile(member)
            assert stream is not None
            body = parts.get(Path(member.name).stem, stream.read())
            member.size = len(body)
            target.addfile(member, io.BytesIO(body))
    return place


def saved(state: object, protocol: int = 2) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer, pickle_protocol=protocol)
    return buffer.getvalue()


def own_config() -> bytes:
    with tarfile.open(TINY_CTC) as tar:
        stream = tar.extractfile(next(member for member in tar if member.name.endswith(CONFIG)))
        assert stream is not None
        return stream.read()


def refused(model: Path, scratch: Path) -> str:
    scratch.mkdir(exist_ok=True)
    with pytest.raises(ConfigurationError) as caught:
        NemoEngine(model, scratch=scratch, device="cpu").load()
    assert not list(scratch.iterdir())
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_command_in_the_weights_does_not_run(protocol: int, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    weights = saved({"encoder.weight": Command(f"touch {marker}")}, protocol)
    said = refused(changed(tmp_path / "m.nemo", model_weights=weights), tmp_path / "scratch")
    assert "asks for code" in said
    assert not marker.exists()


def test_a_command_in_the_configuration_does_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    config = own_config().replace(
        b"_target_: nemo.collections.asr.modules.ConvASREncoder",
        f"_target_: os.system\n  command: touch {marker}".encode(),
    )
    assert b"os.system" in config
    said = refused(changed(tmp_path / "m.nemo", model_config=config), tmp_path / "scratch")
    assert "'os.system'" in said
    assert not marker.exists()


def test_weights_that_the_scan_is_made_to_miss_are_stopped_by_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last line of defence holds by itself, also where the environment asks torch to drop it."""
    from transcription_worker.engines import nemo_load

    marker, unpacked = tmp_path / "ran", tmp_path / "unpacked"
    unpacked.mkdir()
    weights = saved({"encoder.weight": Command(f"touch {marker}")})
    there = unpack(changed(tmp_path / "m.nemo", model_weights=weights), unpacked)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(Exception, match="eights"):
        nemo_load.restore(unpacked, there, "nemo.collections.asr.models.EncDecCTCModel", on_gpu=False)
    assert not marker.exists()


def zipped_anew(checkpoint: bytes) -> bytes:
    """The same records, laid out otherwise than torch does."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(checkpoint)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name), old.read(name))
    return buffer.getvalue()


@pytest.mark.parametrize("anew", [False, True], ids=["as torch lays it out", "zipped anew"])
@pytest.mark.parametrize("behind", [0, 200_000])
def test_weights_are_what_torch_reads_whatever_stands_behind_them(
    anew: bool, behind: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than a zip's end is looked for in stands behind them where a large tokenizer does."""
    import torch

    from transcription_worker.engines import nemo_load

    state = {name: torch.rand(size) for name, size in {"a": 3, "b": 1_000, "c": 17, "d": 0}.items()}
    state["tied"] = state["b"][10:20]
    body = zipped_anew(saved(state)) if anew else saved(state)
    place = tmp_path / "m.nemo"
    with tarfile.open(place, "w") as tar:
        for name, held in {CONFIG: own_config(), WEIGHTS: body, "z": bytes(behind)}.items():
            member = tarfile.TarInfo(name)
            member.size = len(held)
            tar.addfile(member, io.BytesIO(held))
    (tmp_path / "unpacked").mkdir()
    load, loads = torch.load, 0

    def counted(*place: Any, **how: Any) -> Any:
        nonlocal loads
        loads += 1
        return load(*place, **how)

    monkeypatch.setattr(torch, "load", counted)
    found = nemo_load.mapped(unpack(place, tmp_path / "unpacked"))
    assert loads == (2 if anew else 1), "what torch has laid out is mapped, and not read"
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize(
    "state", [{}, {"encoder.weight": None}, [1, 2], "text"], ids=["empty", "foreign", "list", "string"]
)
def test_weights_that_do_not_fit_the_configuration(state: Any, tmp_path: Path) -> None:
    said = refused(changed(tmp_path / "m.nemo", model_weights=saved(state)), tmp_path / "scratch")
    assert "cannot be loaded as EncDecCTCModel" in said


def test_a_configuration_that_does_not_build(tmp_path: Path) -> None:
    config = own_config().replace(b"feat_in: 96", b"feat_in: many")
    assert b"many" in config
    said = refused(changed(tmp_path / "m.nemo", model_config=config), tmp_path / "scratch")
    assert "cannot be loaded as EncDecCTCModel" in said


@pytest.mark.root
def test_a_full_scratch_is_worth_another_attempt_and_stays_clean(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The weights of a compressed archive are unpacked."""
    packed = tmp_path_factory.mktemp("models") / "packed.nemo"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(tmp_path)], check=True)
    try:
        packed.write_bytes(gzip.compress(TINY_CTC.read_bytes()))
        with pytest.raises(RetryableError, match="No space left"):
            NemoEngine(packed, scratch=tmp_path, device="cpu").load()
        assert not list(tmp_path.iterdir())
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
