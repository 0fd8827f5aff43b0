"""Scratch: the only place on disk where the worker makes temporary files. One `Scratch` is one process's share of it.

The promise: whatever happens, no temporary file stays. What a process can clean, it cleans: a path is known before
anything exists at it, and its removal stands in a `finally` outside the block that writes. What it cannot, because it
was killed, the next one to start cleans: every owner holds a lock that dies with it (`scratch_lease`), and `sweep`
removes what has none. Signals are not handled here: the worker turns SIGTERM into a drain, which ends in `close`.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import re
import threading
import time
import uuid
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from transcription_worker import scratch_lease, scratch_space, scratch_tree
from transcription_worker import sweep as sweeping
from transcription_worker.fault_points import Point, reach

logger = logging.getLogger("transcription_worker.scratch")

DEFAULT_MIN_FREE_BYTES = 1 << 30
_EXTENSION = re.compile(r"[A-Za-z0-9]{1,16}")

# Where libraries put what they make on the way, below the owner's directory. HOME stays: credentials are found by it.
_LIBRARY_DIRECTORIES = {
    "TMPDIR": "tmp",
    "XDG_CACHE_HOME": "cache",
    "NUMBA_CACHE_DIR": "cache/numba",
    "MPLCONFIGDIR": "cache/matplotlib",
    "TORCHINDUCTOR_CACHE_DIR": "cache/inductor",
    "TRITON_CACHE_DIR": "cache/triton",
    "CUDA_CACHE_PATH": "cache/cuda",
}
_MODEL_DIRECTORIES = {"HF_HOME": "huggingface", "TORCH_HOME": "torch", "NEMO_CACHE_DIR": "nemo"}


class Scratch:
    """A directory below a shared root that is this process's own until it ends.

    Starting one sweeps the root first. `path` is the directory, `root` the shared one; both are absolute. Thread-safe.
    A forked child shares neither the directory nor the lock: it makes a `Scratch` of its own. `orphans` counts the dead
    owners that its sweeps found, `failed_removals` the paths that it could not remove.

    Args:
        root: made where it is missing; any number of processes and containers of one node may share it.
        min_free_bytes: the floor of `has_room`.
        size_limit_bytes: what scratch may hold in all, where less than its disk (an emptyDir's `sizeLimit`).

    Raises:
        ConfigurationError: the root is no directory or cannot be written.
        RetryableError: the disk is full, also after the sweep.
    """

    def __init__(
        self, root: Path, *, min_free_bytes: int = DEFAULT_MIN_FREE_BYTES, size_limit_bytes: int | None = None
    ) -> None:
        self.root = root.absolute()  # the model toolkit changes the working directory while it loads
        self.min_free_bytes = min_free_bytes
        self.size_limit_bytes = size_limit_bytes
        self.failed_removals = 0
        self.orphans = 0
        self._closing = threading.RLock()
        scratch_lease.prepare_root(self.root)
        self.sweep()
        self._lease: scratch_lease.Lease | None = None
        try:
            with scratch_tree.opened(self.root) as directory:
                self._lease = scratch_lease.acquire(directory)
                os.mkdir(self._lease.owner, 0o700, dir_fd=directory)
                reach(Point.SCRATCH_MADE)
        except OSError as error:
            self.close()
            raise scratch_lease.root_error(self.root, error) from error
        self.path = self.root / self._lease.owner
        _alive.add(self)
        atexit.register(self.close)
        logger.debug("scratch %s is ours, %d bytes free", self.path, self.free_bytes())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the directory and give up the lease. Never raises OSError; where a signal cuts it short, call again.

        A tree that cannot be removed is a warning and a failed removal; the next sweep tries again.
        """
        with self._closing:
            lease = self._lease
            if lease is None:
                return
            try:
                reach(Point.SCRATCH_CLOSING)
                with scratch_tree.opened(self.root) as directory:
                    if self._take_away(directory, lease.owner):
                        reach(Point.SCRATCH_REMOVED)
                        lease.release(directory)
            except OSError as error:
                self._count_failure(self.root, str(error.strerror))
            lease.drop()
            self._lease = None
            atexit.unregister(self.close)

    def sweep(self) -> sweeping.SweepResult:
        """Remove the orphans below the root: at start, and whenever room runs out."""
        result = sweeping.sweep(self.root)
        with self._closing:
            self.orphans += result.orphans
            self.failed_removals += result.failed
        return result

    def new_path(self, extension: str) -> Path:
        """A path that nobody else will ever be given, in this owner's directory. Creates nothing.

        Stands directly before a `try` whose `finally` calls `remove` (scripts/verify_scratch.py checks), or use `file`.

        Args:
            extension: without a dot, such as `wav`.
        """
        if self._lease is None:
            raise ValueError("This scratch is closed, or belongs to the process that this one was forked from.")
        if not _EXTENSION.fullmatch(extension):
            raise ValueError(f"{extension!r} is no extension: letters and digits only, without a dot.")
        path = self.path / f"nemo_{uuid.uuid4()}.{extension}"
        logger.debug("scratch create %s", path, extra={"event": "create", "path": str(path)})
        return path

    @contextlib.contextmanager
    def file(self, extension: str) -> Iterator[Path]:
        """A path for the block, at which nothing exists yet; whatever is there when the block ends is removed."""
        started = time.monotonic()
        path = self.new_path(extension)
        try:
            yield path
            logger.debug("scratch used %s for %.3f s", path, time.monotonic() - started, extra={"event": "use"})
        finally:
            self.remove(path)

    def remove(self, path: Path) -> bool:
        """Remove what is at a path of ours, a file or a tree; True where nothing is left. Never raises OSError."""
        if self._lease is None:
            return False
        if path.parent != self.path:
            self._count_failure(path, "it is not a path that this scratch gave away")
            return False
        try:
            with scratch_tree.opened(self.path) as directory:
                return self._take_away(directory, path.name)
        except OSError as error:
            with self._closing:  # on another thread `close` may have taken it all away
                closed = self._lease is None
            if not closed:
                self._count_failure(path, str(error.strerror))
            return False

    def environment(self, cache: Path | None = None) -> dict[str, str]:
        """Variables that keep libraries and child processes from writing elsewhere; makes the directories they name.

        Set them before the libraries are imported: `tempfile` looks once. It also skips a TMPDIR that does not exist
        and writes to /tmp instead, which is why the directories are made here.

        Args:
            cache: where downloaded models are kept across processes; without it they go with this process.
        """
        models = cache.absolute() if cache else self.path / "cache"
        places = {name: self.path / below for name, below in _LIBRARY_DIRECTORIES.items()}
        places |= {name: models / below for name, below in _MODEL_DIRECTORIES.items()}
        try:
            for place in places.values():
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise scratch_lease.root_error(place, error) from error
        return {name: str(place) for name, place in places.items()}

    def free_bytes(self) -> int:
        """Bytes that may still be written on the disk of scratch; 0 where they cannot be told."""
        try:
            return scratch_space.free_bytes(self.root, self.size_limit_bytes)
        except OSError as error:
            logger.warning("free space of scratch %s cannot be read: %s", self.root, error.strerror)
            return 0

    def has_room(self, needed: int = 0) -> bool:
        """Whether `needed` more bytes leave the floor of `min_free_bytes` free. Below it, fetch nothing more."""
        return self.free_bytes() - needed >= self.min_free_bytes

    def used_bytes(self) -> int:
        """Bytes that this owner's files take on the disk."""
        try:
            with scratch_tree.opened(self.root) as directory:
                return scratch_tree.disk_usage(directory, self.path.name)
        except OSError:
            return 0

    def _take_away(self, parent: int, name: str) -> bool:
        try:
            age = time.time() - os.stat(name, dir_fd=parent, follow_symlinks=False).st_mtime
        except OSError:
            age = 0.0
        removal = scratch_tree.remove_entry(parent, name)
        if removal.failed:
            self._count_failure(Path(name), removal.error)
        elif removal.paths:
            logger.debug(
                "scratch remove %s: %d bytes, written %.3f s ago",
                name,
                removal.size,
                age,
                extra={"event": "remove", "path": name, "size": removal.size, "age_seconds": round(age, 3)},
            )
        return not removal.failed

    def _count_failure(self, path: Path, why: str) -> None:
        with self._closing:
            self.failed_removals += 1
        logger.warning("scratch cannot remove %s now, the next sweep tries again: %s", path, why)

    def _forget(self) -> None:
        """In a forked child: the parent's files are not ours, and a copy of the lock must not outlive the parent."""
        if self._lease is not None:
            self._lease.drop()
            self._lease = None
        self._closing = threading.RLock()  # another thread of the parent may have held it


_alive: weakref.WeakSet[Scratch] = weakref.WeakSet()


def _forget_all() -> None:
    for scratch in list(_alive):
        scratch._forget()


os.register_at_fork(after_in_child=_forget_all)
