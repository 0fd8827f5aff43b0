"""What goes into the images: locked versions that the tests ran with, the project's own code, and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts import build_images
from tests.cluster.layout import REPOSITORY

PARTS = build_images.PARTS


def lock(name: str) -> dict[str, str]:
    lines = (REPOSITORY / name).read_text().splitlines()
    assert all(re.fullmatch(r"[a-z0-9.-]+==\S+( ; .+)?", line) for line in lines), (
        "a version that is not locked, or a URL"
    )
    return {line.partition("==")[0]: line.partition("==")[2] for line in lines}


def dockerfile(part: str) -> str:
    return (REPOSITORY / part / "Dockerfile").read_text()


@pytest.mark.parametrize("part", PARTS)
def test_images_hold_the_versions_that_were_tested(part):
    locked, tested = lock(f"requirements-{part}.txt"), lock("requirements-dev.txt")
    assert {name: tested.get(name) for name in locked} == locked


@pytest.mark.parametrize("part", PARTS)
def test_locks_hold_everything_that_the_part_asks_for(part):
    uv = Path(shutil.which("uv", path=f"{REPOSITORY / '.venv' / 'bin'}") or "uv")
    options = ("--no-header", "--no-annotate", "--no-emit-index-url", "--python-version=3.11", "--offline")
    files = ("--constraint=requirements-dev.txt", f"--extra={part}", "pyproject.toml")
    command = [uv, "pip", "compile", "--quiet", *options, *files]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    if done.returncode != 0:
        pytest.skip(f"uv has not seen all packages on this machine: {done.stderr.splitlines()[-1]}")
    assert done.stdout == (REPOSITORY / f"requirements-{part}.txt").read_text()


@pytest.mark.parametrize("part", PARTS)
def test_everything_that_is_copied_is_let_through(part):
    allowed = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copies = [line.split()[1:-1] for line in dockerfile(part).splitlines() if line.startswith("COPY ")]
    sources = {source for copy in copies for source in copy if not source.startswith(("--from", "/opt"))}
    assert sources <= allowed
    assert f"requirements-{part}.txt" in sources
    assert all((REPOSITORY / source).exists() for source in sources)


@pytest.mark.parametrize("part", PARTS)
def test_no_setting_of_pip_reaches_the_final_stage(part):
    build_stage, _, final = dockerfile(part).rpartition("\nFROM ")
    assert all(f"ARG {setting}\n" in build_stage for setting in build_images.PIP_SETTINGS)
    assert "PIP_" not in final
    assert "\nUSER 65532:65532\n" in final


def test_an_image_is_stale_when_its_code_changes_and_not_otherwise(tmp_path, monkeypatch):
    monkeypatch.setattr(build_images, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.1.0"\n')
    for name in ("README.md", ".dockerignore", "requirements-operator.txt", "requirements-worker.txt"):
        (tmp_path / name).write_text("")
    for folder in ("crds", "operator", "worker"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "code.py").write_text("")
    before = build_images._key("operator")
    (tmp_path / "worker" / "code.py").write_text("changed")
    (tmp_path / "operator" / "__pycache__").mkdir()
    (tmp_path / "operator" / "__pycache__" / "code.pyc").write_text("")
    assert build_images._key("operator") == before
    (tmp_path / "operator" / "code.py").write_text("changed")
    assert build_images._key("operator") != before


def test_missing_tools_are_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(build_images.os, "geteuid", lambda: 0)
    monkeypatch.setattr(build_images, "_key", lambda part: "stale")
    monkeypatch.setattr(build_images.shutil, "which", lambda tool: None if tool == "buildah" else f"/usr/bin/{tool}")
    assert build_images.main(["operator"]) == 1
    assert capsys.readouterr().err.startswith("build_images: buildah missing: run scripts/system-packages.sh cluster")
