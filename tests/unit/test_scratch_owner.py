"""What one owner of scratch promises to the code that uses it."""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from transcription_worker import scratch_lease
from transcription_worker.errors import ConfigurationError, Reason, RecordingError
from transcription_worker.scratch import Scratch
from transcription_worker.scratch_space import no_space_fails_recording


def test_new_path_is_unique_in_a_private_directory_and_makes_nothing(tmp_path: Path) -> None:
    with Scratch(tmp_path) as scratch:
        paths = {scratch.new_path("wav") for _ in range(100)}
        assert len(paths) == 100
        assert all(re.fullmatch(r"nemo_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.wav", path.name) for path in paths)
        assert {path.parent for path in paths} == {scratch.path}
        assert list(scratch.path.iterdir()) == []
        assert stat.S_IMODE(scratch.path.stat().st_mode) == 0o700


@pytest.mark.parametrize("extension", ["", ".wav", "../wav", "a/b", "x" * 17, "a\0"])
def test_extension_that_is_none_is_refused(tmp_path: Path, extension: str) -> None:
    with Scratch(tmp_path) as scratch, pytest.raises(ValueError, match="is no extension"):
        scratch.new_path(extension)


def test_file_is_gone_after_its_block_and_tree_too(tmp_path: Path) -> None:
    with Scratch(tmp_path) as scratch:
        with scratch.file("wav") as path:
            path.write_bytes(b"audio")
        assert not path.exists()
        with scratch.file("d") as directory:
            (directory / "deep" / "deeper").mkdir(parents=True)
            (directory / "deep" / "file").touch()
        assert not directory.exists()
        with scratch.file("wav") as unused:
            pass
        assert not unused.exists()
        assert scratch.failed_removals == 0


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt(), SystemExit(7)])
def test_error_passes_through_unchanged_and_file_is_gone(tmp_path: Path, error: BaseException) -> None:
    with Scratch(tmp_path) as scratch:
        with pytest.raises(type(error)) as caught, scratch.file("wav") as path:
            path.write_bytes(b"audio")
            raise error
        assert caught.value is error
        assert caught.value.__context__ is None
        assert not path.exists()


def test_failed_removal_is_counted_and_masks_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Scratch(tmp_path) as scratch:
        with pytest.raises(ValueError, match="the cause"), scratch.file("wav") as path:
            path.write_bytes(b"audio")
            scratch.path.rename(tmp_path / "away")  # now the directory cannot be opened
            raise ValueError("the cause")
        assert scratch.failed_removals == 1
        assert f"cannot remove {path}" in caplog.text
        (tmp_path / "away").rename(scratch.path)
    assert not scratch.path.exists()


def test_removal_while_another_thread_closes_is_no_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A reader that was left behind for a silent store cleans up when its store process ends, and that is then."""
    for _ in range(20):
        scratch = Scratch(tmp_path)
        with ThreadPoolExecutor(1) as left_behind:
            removals = left_behind.submit(remove_until_closed, scratch, scratch.new_path("wav"))
            scratch.close()
            removals.result(30)
        assert scratch.failed_removals == 0
    assert caplog.messages == []


def remove_until_closed(scratch: Scratch, path: Path) -> None:
    while scratch.remove(path):
        pass


def test_remove_touches_nothing_that_scratch_did_not_give_away(tmp_path: Path) -> None:
    outside = tmp_path / "recording.wav"
    outside.write_bytes(b"the user's")
    with Scratch(tmp_path / "scratch") as scratch:
        for path in (outside, scratch.path / ".." / ".." / "recording.wav", scratch.path, scratch.root):
            assert not scratch.remove(path)
        assert scratch.failed_removals == 4
        assert scratch.path.exists()
    assert outside.read_bytes() == b"the user's"


def test_link_in_scratch_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    outside = tmp_path / "data"
    outside.mkdir()
    (outside / "recording.wav").write_bytes(b"the user's")
    with Scratch(tmp_path / "scratch") as scratch, scratch.file("wav") as path:
        path.symlink_to(outside)
        (scratch.path / "tree").mkdir()
        (scratch.path / "tree" / "link").symlink_to(outside)
    assert (outside / "recording.wav").read_bytes() == b"the user's"
    assert not scratch.path.exists()


def test_close_can_be_repeated_and_ends_the_use(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    path = scratch.new_path("wav")
    scratch.close()
    scratch.close()
    assert names_in(tmp_path) == [scratch_lease.MARKER]
    assert not scratch.remove(path)
    assert scratch.used_bytes() == 0
    with pytest.raises(ValueError, match="closed"):
        scratch.new_path("wav")


def test_close_survives_the_loss_of_the_whole_root(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "scratch")
    (tmp_path / "scratch").rename(tmp_path / "elsewhere")
    scratch.close()
    assert scratch.failed_removals == 1
    assert scratch.free_bytes() == 0


def test_lease_is_not_inherited_by_children(tmp_path: Path) -> None:
    look = "import glob, os; print([os.readlink(fd) for fd in glob.glob('/proc/self/fd/*') if os.path.exists(fd)])"
    control = os.open(tmp_path / "control", os.O_CREAT)
    os.set_inheritable(control, True)
    try:
        with Scratch(tmp_path / "scratch") as scratch:
            held = [str(link.resolve()) for link in Path("/proc/self/fd").iterdir()]
            child = subprocess.run([sys.executable, "-c", look], capture_output=True, close_fds=False, check=True)
            assert f"{scratch.path}.lease" in held
            assert b"control" in child.stdout
            assert b".lease" not in child.stdout
    finally:
        os.close(control)


def test_relative_root_survives_a_change_of_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Scratch(Path("scratch")) as scratch, scratch.file("wav") as path:
        monkeypatch.chdir("/")
        path.write_bytes(b"audio")
        assert path == tmp_path / "scratch" / scratch.path.name / path.name
    assert not path.exists()


def test_environment_keeps_temporary_files_of_libraries_and_children_inside(tmp_path: Path) -> None:
    with Scratch(tmp_path / "scratch") as scratch:
        environment = scratch.environment()
        assert "HOME" not in environment
        assert {"TMPDIR", "HF_HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME"} <= environment.keys()
        for place in environment.values():
            assert Path(place).is_dir()
            assert Path(place).is_relative_to(scratch.path)
        made = subprocess.run(
            [sys.executable, "-c", "import tempfile; print(tempfile.mkdtemp())"],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        assert Path(made).is_dir()
        assert Path(made).is_relative_to(scratch.path)
        cached = scratch.environment(tmp_path / "cache")
        assert cached["HF_HOME"] == str(tmp_path / "cache" / "huggingface")
        assert cached["TMPDIR"] == environment["TMPDIR"]
    assert not Path(made).exists()
    assert (tmp_path / "cache" / "huggingface").is_dir()


def test_room_is_what_the_floor_leaves(tmp_path: Path) -> None:
    with Scratch(tmp_path, min_free_bytes=0) as scratch:
        free = scratch.free_bytes()
        assert free > 0
        assert scratch.has_room()
        assert not scratch.has_room(2 * free)
        scratch.min_free_bytes = 2 * free
        assert not scratch.has_room()


def test_size_limit_counts_what_is_in_scratch_and_not_the_disk(tmp_path: Path) -> None:
    with Scratch(tmp_path, min_free_bytes=0, size_limit_bytes=1 << 20) as scratch:
        assert scratch.has_room(500_000)
        with scratch.file("wav") as path:
            path.write_bytes(os.urandom(600_000))
            os.sync()
            assert scratch.used_bytes() >= 600_000
            assert not scratch.has_room(500_000)
        assert scratch.has_room(500_000)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_a_retryable_failure_of_one_recording(number: int) -> None:
    with pytest.raises(RecordingError) as caught, no_space_fails_recording("calls/a.wav"):
        raise OSError(number, os.strerror(number))
    assert caught.value.reason is Reason.NO_SPACE
    assert caught.value.retryable
    assert "calls/a.wav" in caught.value.message


def test_other_errors_of_writing_are_left_alone() -> None:
    with pytest.raises(PermissionError), no_space_fails_recording("calls/a.wav"):
        raise PermissionError(errno.EACCES, "no")


@pytest.mark.parametrize("below", ["", "scratch"])
def test_root_that_is_no_directory_gets_one_sentence(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="is not a directory: name a directory"):
        Scratch(tmp_path / "file" / below)


def test_creation_use_and_removal_are_logged_with_size_and_age(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "transcription_worker.scratch")
    with Scratch(tmp_path) as scratch:
        caplog.clear()
        with scratch.file("wav") as path:
            path.write_bytes(b"12345")
            os.utime(path, (0, 0))
        events = [(record.__dict__["event"], record) for record in caplog.records]
        assert [event for event, _ in events] == ["create", "use", "remove"]
        removal = events[2][1].__dict__
        assert removal["size"] == 5
        assert removal["age_seconds"] > 1e9
        assert path.name in caplog.text


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]
