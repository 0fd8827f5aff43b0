"""Files and trees below scratch: walk them, and take them away. Knows nothing of leases or owners.

Everything works on a name in an open directory, so that no symbolic link, whoever plants it and whenever, leads out
of scratch. `shutil.rmtree` is as careful about links, but it recurses with one descriptor per level (a tree of 1,000
levels ends in RecursionError), gives up on directories of our own that lack write permission, and empties what is
mounted below. None of the three holds here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from transcription_worker.fault_points import Point, reach

TRASH = re.compile(r"trash-[0-9a-f]{32}")
"""What a directory is called from the moment its removal starts: whoever finds one finishes the work."""

WALK_DEPTH = 64
"""How deep sizes and ages are looked at: bounds recursion and descriptors. Removal has no such bound."""

REMOVAL_PASSES = 3
"""A child that outlives its dead parent may still write into the tree that is being removed."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Removal:
    """What a removal did: `paths` of every kind and `size` in bytes that went, `failed` paths that stayed and why."""

    paths: int = 0
    size: int = 0
    failed: int = 0
    error: str = ""

    def fail(self, name: str, error: OSError) -> None:
        """Count what could not be removed; what somebody else removed first is no failure."""
        if not isinstance(error, FileNotFoundError):
            self.failed += 1
            self.error = self.error or f"{name!r}: {error.strerror}"


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[int]:
    """A descriptor of a directory, for the calls below. The directory itself may be reached through a link."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def names(directory: int) -> list[str]:
    """What a directory holds, in no order; nothing where it cannot be read."""
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries]
    except OSError:
        return []


def mounted_below(directory: int) -> set[str]:
    """The entries of a directory at or below which something is mounted, as /proc/self/mountinfo tells (proc(5))."""
    try:
        above = Path(f"/proc/self/fd/{directory}").readlink()
        lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return set()
    places = (re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), line.split(" ")[4]) for line in lines)
    below = (Path(place).relative_to(above).parts for place in places if Path(place).is_relative_to(above))
    return {parts[0] for parts in below if parts}


def walk(parent: int, name: str, depth: int = WALK_DEPTH) -> Iterator[os.stat_result]:
    """The entry and everything below it, links not followed; what vanishes or cannot be read is left out."""
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except OSError:
        return
    yield found
    if not stat.S_ISDIR(found.st_mode) or depth == 0:
        return
    try:
        directory = os.open(name, _DIRECTORY, dir_fd=parent)
    except OSError:
        return
    try:
        for child in names(directory):
            yield from walk(directory, child, depth - 1)
    finally:
        os.close(directory)


def is_young(parent: int, name: str, newer_than: float) -> bool:
    """Whether the entry or anything below it was modified after `newer_than` (seconds since the epoch).

    The newest of a tree counts, for the time of a directory does not change when a file in it is written. The walk
    stops at the first young one, so that only trees that are about to go are walked as a whole.
    """
    return any(found.st_mtime > newer_than for found in walk(parent, name))


def disk_usage(parent: int, name: str) -> int:
    """Bytes that the entry and everything below it take on the disk, as `du` and the kubelet count them."""
    return sum(found.st_blocks * 512 for found in walk(parent, name))


def remove_entry(parent: int, name: str) -> Removal:
    """Remove a file, a link or a whole tree. Never raises OSError; what is not there is no failure.

    A directory is renamed before it is emptied, and every directory below it is moved up beside the others first. So
    two descriptors do for any depth, and what is mounted there is not touched: a mount point cannot be renamed (EBUSY).
    A lock on the directory keeps two sweepers from removing one tree at once; the second leaves it to the first.
    """
    removal = Removal()
    try:
        if not _is_directory(parent, name):
            _unlink(parent, name, removal)
            return removal
        if not TRASH.fullmatch(name):
            name = _move(parent, name, parent)
            reach(Point.TRASH_RENAMED)
        top = _open_own(parent, name)
    except OSError as error:
        removal.fail(name, error)
        return removal
    try:
        if not _lock(top):
            return removal
        for remaining in reversed(range(REMOVAL_PASSES)):
            last = _empty(top)
            removal.paths += last.paths
            removal.size += last.size
            try:
                _rmdir(parent, name, removal)
                break
            except OSError as error:
                if remaining == 0:
                    last.fail(name, error)
                    removal.failed, removal.error = last.failed, last.error
    finally:
        os.close(top)
    return removal


def _lock(directory: int) -> bool:
    """False where another sweeper is at it. A file system without locks gets no lock: two may then share the work."""
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _empty(top: int) -> Removal:
    """Remove what is in a directory, at any depth."""
    removal = Removal()
    waiting = ["."]
    while waiting:
        name = waiting.pop()
        try:
            directory = _open_own(top, name)
        except OSError as error:
            removal.fail(name, error)
            continue
        try:
            for child in names(directory):
                try:
                    if _is_directory(directory, child):
                        waiting.append(_move(directory, child, top))
                    else:
                        _unlink(directory, child, removal)
                except OSError as error:
                    removal.fail(child, error)
        finally:
            os.close(directory)
        if name != ".":
            try:
                _rmdir(top, name, removal)
            except OSError as error:
                removal.fail(name, error)
    return removal


def _is_directory(parent: int, name: str) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def _unlink(parent: int, name: str, removal: Removal) -> None:
    size = os.stat(name, dir_fd=parent, follow_symlinks=False).st_size
    os.unlink(name, dir_fd=parent)
    removal.paths += 1
    removal.size += size


def _rmdir(parent: int, name: str, removal: Removal) -> None:
    os.rmdir(name, dir_fd=parent)
    removal.paths += 1


def _move(parent: int, name: str, target: int) -> str:
    trash = f"trash-{uuid.uuid4().hex}"
    try:
        os.rename(name, trash, src_dir_fd=parent, dst_dir_fd=target)
    except PermissionError:  # another parent changes "..", so the directory itself must be writable
        os.close(_open_own(parent, name))
        os.rename(name, trash, src_dir_fd=parent, dst_dir_fd=target)
    return trash


def _open_own(parent: int, name: str) -> int:
    """Open a directory to list and change it, giving ourselves the permission where it is ours and lacks it."""
    handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        if os.fstat(handle).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            with contextlib.suppress(OSError):
                Path(f"/proc/self/fd/{handle}").chmod(stat.S_IRWXU)
        return os.open(".", _DIRECTORY, dir_fd=handle)
    finally:
        os.close(handle)
