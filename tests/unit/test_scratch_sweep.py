"""What the sweep takes and what it leaves."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest

from transcription_worker.errors import ConfigurationError, RetryableError
from transcription_worker.scratch import Scratch
from transcription_worker.scratch_lease import MARKER
from transcription_worker.sweep import FOREIGN_AGE_SECONDS, SweepResult, checked_sweep, sweep

OLD = time.time() - FOREIGN_AGE_SECONDS - 60
YOUNG = time.time() - FOREIGN_AGE_SECONDS + 1800
"""Read when the tests are collected: half an hour may pass until they run."""


def aged(path: Path, when: float = OLD) -> Path:
    """Make a file where nothing is, and let it and the directories above it up to scratch look as old as that."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    os.utime(path, (when, when), follow_symlinks=False)
    return path


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A root that scratch found empty and marked."""
    root = tmp_path / "ours"
    Scratch(root).close()
    assert (root / MARKER).exists()
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory that held something before scratch was pointed at it."""
    root = tmp_path / "data"
    aged(root / "recordings" / "2019.wav")
    aged(root / "recordings")
    Scratch(root).close()
    assert not (root / MARKER).exists()
    return root


def test_missing_root_has_no_orphans(tmp_path: Path) -> None:
    assert sweep(tmp_path / "nowhere") == SweepResult()


@pytest.mark.parametrize("where", ["ours", "data"])
def test_old_nemo_audio_of_other_tools_goes_and_young_stays(where: str, request: pytest.FixtureRequest) -> None:
    root: Path = request.getfixturevalue(where)
    old, young = aged(root / "nemo_old.wav"), aged(root / "nemo_young.wav", YOUNG)
    result = sweep(root)
    assert not old.exists()
    assert young.exists()
    assert (result.removed, result.removed_bytes, result.kept_young) == (1, 5, 1)


def test_age_is_told_by_the_clock_that_is_passed_in(ours: Path) -> None:
    path = aged(ours / "nemo_a.wav", 1000.0)
    assert sweep(ours, now=lambda: 4600.0).kept_young == 0
    assert not path.exists()
    path = aged(ours / "nemo_a.wav", 1000.0)
    assert sweep(ours, now=lambda: 4599.0).kept_young == 1
    assert path.exists()


def test_other_strangers_go_from_a_root_that_is_ours(ours: Path) -> None:
    aged(ours / "tmpabc" / "manifest.json")
    aged(ours / "tmpabc")
    aged(ours / ".hidden")
    aged(ours / "not\nmine\udcff")
    assert sweep(ours).failed == 0
    assert names_in(ours) == [MARKER]


def test_nothing_of_a_data_directory_goes(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = [aged(data / name) for name in ("notes.txt", "nemo_asr.nemo", "tmp123", "model.wav")]
    aged(data / "nemo_experiments" / "checkpoint.ckpt")
    aged(data / "nemo_experiments")
    aged(data / "nemo_takes.wav" / "1.wav")
    aged(data / "nemo_takes.wav")
    (data / "link").symlink_to(data / "notes.txt")
    before = sorted(data.rglob("*"))
    with Scratch(data):
        result = sweep(data)
    assert sorted(data.rglob("*")) == before
    assert all(path.exists() for path in kept)
    assert (result.removed, result.kept_foreign) == (0, 8)
    assert "a directory of its own is better" in caplog.text


def test_orphans_go_from_a_data_directory_too(data: Path) -> None:
    before = sorted(data.rglob("*"))
    abandon(data)
    assert sweep(data).orphans == 1
    assert sorted(data.rglob("*")) == before


def test_tree_is_as_young_as_the_newest_in_it(ours: Path) -> None:
    inner = aged(ours / "tmpabc" / "a" / "b" / "still-written.wav", YOUNG)
    for directory in inner.relative_to(ours).parents[:-1]:
        aged(ours / directory)
    assert sweep(ours).kept_young == 1
    aged(inner)
    assert sweep(ours).removed == 4


def test_lost_and_found_stays_and_an_empty_disk_is_ours(tmp_path: Path) -> None:
    aged(tmp_path / "lost+found" / "#123")
    aged(tmp_path / "lost+found")
    Scratch(tmp_path).close()
    assert (tmp_path / MARKER).exists()
    sweep(tmp_path)
    assert (tmp_path / "lost+found" / "#123").exists()


def test_links_are_removed_and_not_followed(ours: Path, tmp_path: Path) -> None:
    outside = aged(tmp_path / "outside" / "recording.wav")
    for name, target in (("nemo_a.wav", outside), ("dir", outside.parent), ("up", tmp_path), ("broken", "nowhere")):
        (ours / name).symlink_to(target)
        os.utime(ours / name, (OLD, OLD), follow_symlinks=False)
    (ours / "tmpabc").mkdir()
    (ours / "tmpabc" / "inner").symlink_to(outside.parent)
    os.utime(ours / "tmpabc" / "inner", (OLD, OLD), follow_symlinks=False)
    os.utime(ours / "tmpabc", (OLD, OLD))
    assert sweep(ours).failed == 0
    assert names_in(ours) == [MARKER]
    assert outside.exists()


def test_directory_that_is_swapped_for_a_link_while_it_goes_leads_nowhere(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = aged(tmp_path / "outside" / "recording.wav")
    aged(ours / "tmpabc" / "file")
    aged(ours / "tmpabc")
    rename = os.rename

    def swap_then_rename(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        (ours / "tmpabc" / "file").unlink()
        (ours / "tmpabc").rmdir()
        (ours / "tmpabc").symlink_to(outside.parent)
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", swap_then_rename)
    assert sweep(ours).failed == 1
    monkeypatch.undo()
    assert outside.exists()
    assert sweep(ours).removed == 1
    assert names_in(ours) == [MARKER]
    assert outside.exists()


def test_lease_that_is_no_file_is_left_and_counted(ours: Path, tmp_path: Path) -> None:
    outside = aged(tmp_path / "outside.wav")
    (ours / f"owner-{'0' * 32}.lease").symlink_to(outside)
    os.mkfifo(ours / f"owner-{'1' * 32}.lease")
    (ours / f"owner-{'2' * 32}.lease").mkdir()
    assert sweep(ours).failed == 3
    assert outside.exists()


def test_owner_directory_whose_lease_was_removed_by_hand_counts_as_foreign(ours: Path) -> None:
    directory = ours / f"owner-{'a' * 32}"
    aged(directory / "nemo_a.wav")
    aged(directory, YOUNG)
    assert sweep(ours).kept_young == 1
    aged(directory)
    assert sweep(ours).removed == 2


def test_removal_that_was_cut_short_is_finished_whatever_its_age(data: Path) -> None:
    aged(data / f"trash-{'b' * 32}" / "nemo_a.wav", time.time())
    assert sweep(data).removed == 2


def test_tree_deeper_than_recursion_and_descriptors_go(ours: Path) -> None:
    top = ours / "deep"
    top.mkdir()
    directory = os.open(top, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=directory)
        below = os.open("d", os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = below
    os.close(directory)
    result = sweep(ours, now=lambda: time.time() + 2 * FOREIGN_AGE_SECONDS)
    assert (result.removed, result.failed) == (1101, 0)
    assert names_in(ours) == [MARKER]


def test_directories_without_permissions_go(ours: Path) -> None:
    closed = ours / "tmpabc" / "closed"
    aged(closed / "inner" / "file")
    for path in (closed / "inner", closed, closed.parent):
        path.chmod(0o500)
        aged(path)
    assert sweep(ours).removed == 4
    assert names_in(ours) == [MARKER]


def test_sweep_command_says_whether_there_is_room(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "transcription_worker.scratch")
    root = tmp_path / "scratch"
    root.mkdir()
    abandon(root)
    swept, free = checked_sweep(root, 1)
    assert (swept.orphans, swept.removed, swept.removed_bytes) == (1, 2, 5)
    assert free > 0
    assert "1 orphans, removed 2 paths of 5 bytes" in caplog.text
    with pytest.raises(RetryableError, match="free space there, give it a larger volume"):
        checked_sweep(root, 1 << 62)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="not a directory"):
        checked_sweep(tmp_path / "file", 1)


def abandon(root: Path) -> None:
    """An owner that died: its lease is there and nobody holds the lock."""
    owner = root / f"owner-{'f' * 32}"
    owner.with_suffix(".lease").touch()
    owner.mkdir()
    (owner / "nemo_a.wav").write_bytes(b"12345")


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]
