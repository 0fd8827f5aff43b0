"""Leases: which directory below scratch belongs to a process that lives. Removes nothing but leases.

A lease is a file `<root>/owner-<uuid>.lease` with an exclusive flock(2); the directory `<root>/owner-<uuid>/` is the
owner's. The lock belongs to the open file description, so the kernel drops it when the owner ends, however it ends:
no clock, no process id (containers have their own) and no heartbeat (a stopped process sends none) has to be believed.

The order is what makes it safe. The lock is taken before the directory exists, and the lease goes after the directory:
a directory without a lease is never one of a live owner. Between the creation of the lease and its lock a sweeper may
take it for an orphan's. It then holds the lock or has unlinked the file, both of which the owner sees after locking,
and it starts again under another name. No name is used twice, so a lease never changes hands.

Two processes see each other's locks where one kernel serves both: containers on one node, also of different pods on one
hostPath. See docs/temp-files.md for network file systems and sandboxed runtimes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import re
import socket
import stat
import uuid
from dataclasses import dataclass
from pathlib import Path

from transcription_worker.errors import ConfigurationError, RetryableError
from transcription_worker.fault_points import Point, reach
from transcription_worker.scratch_space import NO_SPACE_ERRNOS
from transcription_worker.scratch_tree import names, opened

logger = logging.getLogger("transcription_worker.scratch")

MARKER = ".transcription-scratch"
"""A root that carries it is ours as a whole: what strangers leave there is swept too."""

KEPT = frozenset({MARKER, "lost+found"})
OWNER = re.compile(r"owner-[0-9a-f]{32}")
LEASE_SUFFIX = ".lease"

_OPEN_LEASE = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(slots=True)
class Lease:
    """A lease whose lock this process holds. `descriptor` is the only copy: O_CLOEXEC keeps it from children."""

    owner: str
    descriptor: int

    def release(self, root: int) -> None:
        """Give the name up, once nothing is left in the directory. Never raises OSError."""
        with contextlib.suppress(OSError):
            os.unlink(self.owner + LEASE_SUFFIX, dir_fd=root)
        self.drop()

    def drop(self) -> None:
        """Let go of the lock and leave the lease: the next sweep takes what is there for an orphan's."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor != -1:
            os.close(descriptor)


def acquire(root: int) -> Lease:
    """Lease a new name. Raises OSError where the root cannot be written."""
    while True:
        owner = f"owner-{uuid.uuid4().hex}"
        descriptor = os.open(owner + LEASE_SUFFIX, _OPEN_LEASE | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=root)
        lease = Lease(owner, descriptor)
        reach(Point.LEASE_CREATED)
        if _lock(root, lease):
            reach(Point.LEASE_LOCKED)
            with contextlib.suppress(OSError):  # for people who look; a full disk may refuse it
                os.write(descriptor, f"{socket.gethostname()} process {os.getpid()}\n".encode())
            return lease
        lease.drop()


def take_over(root: int, owner: str) -> Lease | None:
    """The lease of a dead owner, locked; None where the owner lives or another sweeper was first.

    Raises:
        OSError: it is no regular file, or belongs to a user whose files this one cannot open.
    """
    try:
        descriptor = os.open(owner + LEASE_SUFFIX, _OPEN_LEASE, dir_fd=root)
    except FileNotFoundError:
        return None
    lease = Lease(owner, descriptor)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        lease.drop()
        raise OSError(errno.EINVAL, "not a regular file")
    if _lock(root, lease):
        return lease
    lease.drop()
    return None


def _lock(root: int, lease: Lease) -> bool:
    """Lock, then make sure that the name still leads to what was locked."""
    try:
        fcntl.flock(lease.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        named = os.stat(lease.owner + LEASE_SUFFIX, dir_fd=root, follow_symlinks=False)
    except (BlockingIOError, FileNotFoundError):
        return False
    return os.path.samestat(named, os.fstat(lease.descriptor))


def is_marked(root: int) -> bool:
    try:
        return stat.S_ISREG(os.stat(MARKER, dir_fd=root, follow_symlinks=False).st_mode)
    except OSError:
        return False


def prepare_root(root: Path) -> None:
    """Make the root where it is missing, and mark it as ours where nothing of anybody else's is in it.

    A directory that held something before is never marked: whoever points scratch at a data directory loses nothing.

    Raises:
        ConfigurationError: it is no directory, not one that this user can write, or one that was laid there by another.
        RetryableError: the disk is full.
    """
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with opened(root) as directory:
            _refuse_strangers(root, directory)
            if is_marked(directory):
                return
            if KEPT.issuperset(names(directory)):
                os.close(
                    os.open(MARKER, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory)
                )
            else:
                logger.warning(
                    "scratch %s held other files before: the sweep takes only our own and old nemo_* audio there; "
                    "a directory of its own is better",
                    root,
                )
    except OSError as error:
        raise root_error(root, error) from error


def _refuse_strangers(root: Path, directory: int) -> None:
    """Where anybody may make directories, as in /tmp, one that another user made is his trap: he may swap what is in
    it."""
    above = root.absolute().parent.stat().st_mode
    owners = {os.fstat(directory).st_uid, os.lstat(root).st_uid} - {0, os.getuid()}
    if owners and above & stat.S_ISVTX and above & stat.S_IWOTH:
        raise ConfigurationError(
            f"Scratch {root} belongs to user {owners.pop()}, and user {os.getuid()} cannot trust it: name another "
            "directory with --scratch."
        )


def root_error(root: Path, error: OSError) -> ConfigurationError | RetryableError:
    """One sentence for a root that cannot be used."""
    if error.errno in NO_SPACE_ERRNOS:
        return RetryableError(
            f"Scratch {root} is full ({error.strerror}): free space there or give it a larger volume."
        )
    if isinstance(error, FileExistsError | NotADirectoryError):
        return ConfigurationError(
            f"Scratch {root} is not a directory: name a directory that may be created or emptied."
        )
    return ConfigurationError(
        f"Scratch {root} cannot be used by user {os.getuid()} ({error.strerror}): name a directory that it may write."
    )
