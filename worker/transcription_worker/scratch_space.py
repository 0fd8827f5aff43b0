"""Space in scratch: how much is left, and what a full disk means to a recording. Makes and removes nothing."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from transcription_worker.errors import Reason, RecordingError, RetryableError
from transcription_worker.scratch_tree import disk_usage, opened

NO_SPACE_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
BROKEN_ERRNOS = frozenset({errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM})
"""What a disk says that took files before and takes none any more."""


def free_bytes(root: Path, size_limit_bytes: int | None = None) -> int:
    """Bytes that this user may still write below the root. Raises OSError where that cannot be told.

    Args:
        root: scratch.
        size_limit_bytes: the `sizeLimit` of an emptyDir. The file system knows nothing of it: the kubelet measures what
            is there now and then, and evicts the pod.
    """
    disk = os.statvfs(root)
    if disk.f_files and not disk.f_favail:  # out of inodes; file systems that make them as needed count none
        return 0
    free = disk.f_bavail * disk.f_frsize
    if size_limit_bytes is None:
        return free
    with opened(root) as directory:
        return min(free, size_limit_bytes - disk_usage(directory, "."))


@contextlib.contextmanager
def no_space_fails_recording(what: str) -> Iterator[None]:
    """Turn a full disk or an exhausted quota inside the block into a retryable failure of one recording.

    Args:
        what: what was being written, such as the recording's key.

    Raises:
        RecordingError: NoSpace, for ENOSPC and EDQUOT. Any other error passes.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE_ERRNOS:
            raise
        message = f"No space left in scratch for {what} ({error.strerror}): it is tried again when there is room."
        raise RecordingError(Reason.NO_SPACE, message, retryable=True) from error


@contextlib.contextmanager
def disk_ends_process(root: Path) -> Iterator[None]:
    """Turn what the disk of scratch refuses inside the block into the end of this process, for another attempt.

    It was usable when the process began. No recording is to blame, and the next pod may get another node.

    Raises:
        RetryableError: for `NO_SPACE_ERRNOS` and `BROKEN_ERRNOS`. Any other error passes.
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE_ERRNOS:
            cure = "free space there or give it a larger volume"
        elif error.errno in BROKEN_ERRNOS:
            cure = "look at the disk and its permissions"
        else:
            raise
        raise RetryableError(f"Scratch {root} takes no more files ({error.strerror}): {cure}.") from error
