"""Whole files or none: how a directory gets a new file, or a new version of one, whatever kills the writer.

A new file has no name until it is whole: it is written as an unnamed one (O_TMPFILE), which the kernel frees with the
process, and linked to its name in one step that fails where the name is taken. A new version needs a name first, for
rename(2) is what replaces; all writers use the same one under one lock, so that a killed writer leaves at most that
one file, which the next one removes. Filesystems without O_TMPFILE (NFS, many FUSE) take that way for new files too.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from transcription_worker.errors import PreconditionFailed
from transcription_worker.layout import JOBS_PREFIX
from transcription_worker.store.protocol import Condition, IfAbsent, IfMatch

LOCK = f"{JOBS_PREFIX}.lock"
PENDING = f"{JOBS_PREFIX}.pending"
OWN_NAMES = frozenset({LOCK, PENDING})
"""Keys of what is no object."""

STANDSTILL_SECONDS = 300.0
"""Who holds the lock writes one file; where a disk takes longer for that, its writer is frozen. Each holder marks the
lock when it gets it, so that a long queue is told from one writer that stands still."""
_NO_UNNAMED_FILES = frozenset({errno.EOPNOTSUPP, errno.EISDIR})


def etag_of(status: os.stat_result) -> str:
    """Size, time and inode: each write makes a new inode, so a version is told from the next without reading it."""
    return f"{status.st_size:x}-{status.st_mtime_ns:x}-{status.st_ino:x}"


def write_file(root: Path, target: Path, body: bytes | Path, condition: Condition) -> str:
    """Put `body` at `target`, whose directory exists; returns its ETag.

    Raises:
        PreconditionFailed: the condition does not hold.
        OSError: it could not be written; nothing is left.
    """
    unnamed = _open_unnamed(target.parent)
    if unnamed is None:
        return _replace(root, target, condition, lambda pending: _write_named(pending, body))
    try:
        _fill(unnamed, body)
        if not isinstance(condition, IfMatch):
            try:
                _link(unnamed, target)
                _sync_directory(target.parent)
                return etag_of(os.fstat(unnamed))
            except FileExistsError:
                if isinstance(condition, IfAbsent):
                    raise PreconditionFailed(f"{target} exists already.") from None
        return _replace(root, target, condition, lambda pending: _link(unnamed, pending))
    finally:
        os.close(unnamed)


def delete_file(root: Path, target: Path) -> None:
    """Remove a file if it is there. Under the lock, so that no writer replaces what it has not seen."""
    if not target.exists():
        return
    with _locked(root):
        target.unlink(missing_ok=True)


def remove_pending(root: Path, older_than_seconds: float, now: float) -> int:
    """Remove what a killed writer left under the pending name; returns 1 where there was something, else 0."""
    pending = root / PENDING
    try:
        old = now - pending.stat().st_mtime >= older_than_seconds
    except FileNotFoundError:
        return 0
    if not old:
        return 0
    with _locked(root):
        try:
            pending.unlink()
        except FileNotFoundError:
            return 0
    return 1


def _replace(root: Path, target: Path, condition: Condition, name: Callable[[Path], None]) -> str:
    """Check the condition and swap the file in, with every other writer and remover kept out."""
    with _locked(root):
        pending = root / PENDING
        pending.unlink(missing_ok=True)
        try:
            name(pending)
            _check(target, condition)
            pending.replace(target)
        finally:
            pending.unlink(missing_ok=True)
        _sync_directory(target.parent)
        return etag_of(target.stat())


def _check(target: Path, condition: Condition) -> None:
    try:
        status = target.stat()
    except FileNotFoundError:
        if isinstance(condition, IfMatch):
            raise PreconditionFailed(f"{target} was removed by another in the meantime.") from None
        return
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if isinstance(condition, IfAbsent):
        raise PreconditionFailed(f"{target} exists already.")
    if isinstance(condition, IfMatch) and etag_of(status) != condition.etag:
        raise PreconditionFailed(f"{target} was written by another in the meantime.")


def _open_unnamed(directory: Path) -> int | None:
    """A descriptor of a file without a name, None where the filesystem has none."""
    try:
        return os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in _NO_UNNAMED_FILES:
            return None
        raise


def _link(descriptor: int, name: Path) -> None:
    # os.link follows /proc's link to the file only by way of linkat(2), which it takes when given a dir_fd.
    directory = os.open(name.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.link(f"/proc/self/fd/{descriptor}", name.name, dst_dir_fd=directory, follow_symlinks=True)
    finally:
        os.close(directory)


def _write_named(pending: Path, body: bytes | Path) -> None:
    descriptor = os.open(pending, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        _fill(descriptor, body)
    finally:
        os.close(descriptor)


def _fill(descriptor: int, body: bytes | Path) -> None:
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        if isinstance(body, bytes):
            file.write(body)
        else:
            with body.open("rb") as source:
                shutil.copyfileobj(source, file, 1 << 20)
        file.flush()
        os.fsync(descriptor)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Some network filesystems cannot; the file's own fsync is what they give.
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """The one lock of a location, between threads as well as processes; the kernel drops it with its holder.

    Raises:
        OSError: ETIMEDOUT, another process holds it and stands still.
    """
    path = root / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _await_lock(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _await_lock(descriptor: int, path: Path) -> None:
    deadline, holder, pause = 0.0, -1, 0.001
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            now, marked = time.monotonic(), os.fstat(descriptor).st_mtime_ns
            if marked != holder:
                deadline, holder = now + STANDSTILL_SECONDS, marked
            elif now > deadline:
                told = f"another process has held {path} for {STANDSTILL_SECONDS:.0f} s: end it if it is frozen"
                raise OSError(errno.ETIMEDOUT, told) from None
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    with suppress(OSError):  # where it cannot be marked, others wait as long as for one holder
        os.utime(descriptor)
