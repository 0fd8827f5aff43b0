"""Scratch under other users, on full disks and with mounts in it: what only root can arrange, on Linux."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.scratch_drivers import DEADLINE_SECONDS, driver, go_on, left, told
from transcription_worker.errors import ConfigurationError, RetryableError
from transcription_worker.scratch import Scratch
from transcription_worker.scratch_space import free_bytes
from transcription_worker.sweep import FOREIGN_AGE_SECONDS, sweep

NOBODY = 65534
MIB = 1 << 20

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="needs root on Linux"),
]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users can reach; pytest's own are closed to them."""
    with tempfile.TemporaryDirectory(prefix="scratch-test-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path
        for mount in mounts_below(path):  # of a test that failed: nothing mounted may go with the directory
            subprocess.run(["umount", mount], check=True)


@pytest.fixture
def shared(place: Path) -> Path:
    """A root that belongs to nobody."""
    root = place / "scratch"
    root.mkdir()
    os.chown(root, NOBODY, NOBODY)
    return root


def ask_nobody(command: str, root: Path) -> dict[str, Any]:
    """What a driver that runs as nobody tells."""
    with driver(command, root, user=NOBODY) as process:
        facts = told(process)
        assert process.wait(DEADLINE_SECONDS) == 0
    return facts


def mounts_below(path: Path) -> list[str]:
    mounts = [line.split()[1].replace("\\040", " ") for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [mount for mount in reversed(mounts) if Path(mount).is_relative_to(path)]


@contextmanager
def mounted(target: Path, *arguments: str) -> Iterator[Path]:
    target.mkdir(exist_ok=True)
    subprocess.run(["mount", *arguments, str(target)], check=True)
    try:
        yield target
    finally:
        subprocess.run(["umount", str(target)], check=True)


def test_directory_that_cannot_be_removed_is_a_warning_and_the_run_succeeds(shared: Path) -> None:
    with driver("report_failures", shared, user=NOBODY) as process:
        path = Path(told(process)["path"])
        path.unlink()
        path.mkdir()
        (path / "of-root").touch()
        go_on(process)
        assert told(process) == {"failed": 1}
        assert told(process) == {"failed": 2}
        _, errors = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0
        assert errors.count("the next sweep tries again") == 2
    assert [name.rpartition("/")[2] for name in left(shared)][-1] == "of-root"

    with driver("hold", shared, user=NOBODY) as successor:
        told(successor)
        go_on(successor)
        assert told(successor) == {"kept": True}
        assert successor.wait(DEADLINE_SECONDS) == 0
    assert left(shared), "nobody cannot remove what is root's"
    assert sweep(shared).failed == 0
    assert left(shared) == []


def test_own_directories_without_permissions_go(shared: Path) -> None:
    assert ask_nobody("close_permissions", shared) == {"failed": 0}
    assert left(shared) == []


def test_root_that_cannot_be_written_gets_one_sentence(place: Path) -> None:
    expected = "cannot be used by user 65534 (Permission denied): name a directory that it may write."
    for root in (place, place / "below"):
        assert ask_nobody("refused", root) == {"sentence": f"Scratch {root} {expected}"}


@pytest.mark.parametrize("link", [False, True])
def test_root_that_another_user_has_laid_where_anybody_may_is_refused(shared: Path, place: Path, link: bool) -> None:
    """As /tmp/transcription-0 can be, before root comes: its owner could put a link where files are about to be."""
    Scratch(shared).close()
    for path in shared.iterdir():
        path.unlink()
    if link:
        (place / "elsewhere").mkdir()
        shared.rmdir()
        shared.symlink_to(place / "elsewhere")
        os.chown(shared, NOBODY, NOBODY, follow_symlinks=False)
    place.chmod(0o1777)
    with pytest.raises(ConfigurationError, match=r"belongs to user 65534, and user 0 cannot trust it: name another"):
        Scratch(shared)
    assert list(shared.iterdir()) == []


def test_owner_of_another_user_is_left_alone(shared: Path) -> None:
    with Scratch(shared) as scratch, scratch.file("wav") as path:
        path.write_bytes(b"audio")
        assert ask_nobody("only_sweep", shared) == {"failed": 1, "removed": 0}
        assert path.read_bytes() == b"audio"


def test_full_disk_fails_one_recording_and_its_space_comes_back(place: Path) -> None:
    with mounted(place / "disk", "-t", "tmpfs", "-o", "size=4m", "scratch-test") as disk:
        with driver("fill", disk, str(MIB)) as process:
            assert told(process) == {
                "before": True,
                "noticed": True,
                "reason": "NoSpace",
                "retryable": True,
                "after": True,
            }
            assert process.wait(DEADLINE_SECONDS) == 0
        assert left(disk) == []


def test_sweep_makes_room_that_an_orphan_took(place: Path) -> None:
    with mounted(place / "disk", "-t", "tmpfs", "-o", "size=8m", "scratch-test") as disk:
        with driver("hold", disk) as victim:
            path = Path(told(victim)["path"])
            path.write_bytes(bytes(7 * MIB))
            with Scratch(disk, min_free_bytes=2 * MIB) as scratch:
                assert not scratch.has_room()
                assert scratch.sweep().live == 2
                assert not scratch.has_room()
                victim.kill()
                victim.wait(DEADLINE_SECONDS)
                result = scratch.sweep()
                assert (result.orphans, result.removed_bytes) == (1, 7 * MIB)
                assert scratch.has_room(5 * MIB)
        assert left(disk) == []


def test_start_on_a_disk_without_inodes_is_retryable_and_leaves_nothing(place: Path) -> None:
    with mounted(place / "disk", "-t", "tmpfs", "-o", "size=1m,nr_inodes=4", "scratch-test") as disk:
        Scratch(disk).close()  # the disk's root, the marker, a lease and a directory: all the inodes there are
        (disk / "of-somebody").touch()
        with pytest.raises(RetryableError, match=r"is full .* free space there or give it a larger volume"):
            Scratch(disk)
        assert left(disk) == ["of-somebody"]
        assert free_bytes(disk) > 0
        (disk / "another").touch()
        assert free_bytes(disk) == 0


def test_volume_mounted_in_scratch_is_not_emptied(place: Path) -> None:
    """A bind mount of the same file system, as volumes of one node's disk are: no device number tells it apart."""
    data = place / "data of a user"
    data.mkdir()
    (data / "recording.wav").write_bytes(b"the user's")
    root = place / "scratch"
    Scratch(root).close()
    (root / "tmpabc" / "inner").mkdir(parents=True)
    later = time.time() + 2 * FOREIGN_AGE_SECONDS
    with (
        mounted(root / "cache of models", "--bind", str(data)),
        mounted(root / "tmpabc" / "inner" / "models", "--bind", str(data)),
    ):
        result = sweep(root, now=lambda: later)
        assert (result.removed, result.kept_foreign, result.failed) == (0, 2, 0)
        assert (data / "recording.wav").exists()
    assert sweep(root, now=lambda: later).failed == 0
    assert left(root) == []


def test_volume_mounted_in_an_orphan_is_not_emptied_either(place: Path) -> None:
    data = place / "data"
    data.mkdir()
    (data / "recording.wav").write_bytes(b"the user's")
    with driver("hold", place / "scratch") as process:
        owner = Path(told(process)["path"]).parent
    (owner / "models").mkdir()
    subprocess.run(["mount", "--bind", str(data), str(owner / "models")], check=True)
    try:
        assert sweep(owner.parent).failed > 0
        assert (data / "recording.wav").exists()
    finally:
        (mount,) = owner.parent.glob("*/models")
        subprocess.run(["umount", str(mount)], check=True)
    assert sweep(owner.parent).failed == 0
    assert left(owner.parent) == []
