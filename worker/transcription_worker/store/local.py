"""Objects as files of a directory. How files are written without leaving parts stands in `local_write.py`.

A directory holds no metadata and no content type: `head` gives none, and who needs them reads the body. Links are
followed to files inside the directory only; links to directories are not followed at all.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from transcription_worker.errors import ConfigurationError, PreconditionFailed, Reason, RecordingError
from transcription_worker.store.local_write import OWN_NAMES, delete_file, etag_of, remove_pending, write_file
from transcription_worker.store.probe import WRITABLE, conditions_hold
from transcription_worker.store.protocol import Arrived, Condition, ObjectInfo

logger = logging.getLogger(__name__)

_CHUNK = 1 << 20
_LONGEST_NAME = 255


class LocalStore:
    """One directory. Thread-safe, and safe between processes on one machine."""

    def __init__(self, root: Path, uri: str) -> None:
        self.uri = uri.rstrip("/") or "/"
        self._root = root.expanduser().absolute()

    def check(self, *, write: bool) -> None:
        try:
            if write:
                self._root.mkdir(parents=True, exist_ok=True)
            with os.scandir(self._root):
                pass
        except FileNotFoundError as error:
            raise ConfigurationError(f"{self.uri} does not exist; create the directory or correct the path.") from error
        except (FileExistsError, NotADirectoryError) as error:
            raise ConfigurationError(f"{self.uri} is no directory; give the directory that holds the files.") from error
        except OSError as error:
            raise ConfigurationError(f"{self.uri} cannot be used ({error.strerror}); check its permissions.") from error
        if write:
            try:
                self.put(WRITABLE, b"")
                self.delete(WRITABLE)
            except RecordingError as error:
                raise ConfigurationError(f"{self.uri} cannot be written: {error}") from error

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        folder, slash, start = prefix.rpartition("/")
        base = self._path(folder) if folder else self._root
        if base.is_dir():
            yield from self._walk(base, folder + slash, os.fsencode(start))

    def scan(self) -> Iterator[ObjectInfo]:
        return self.list()

    def head(self, key: str) -> ObjectInfo | None:
        path = self._path(key)
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._failed(error, key, "read") from error
        if not stat.S_ISREG(status.st_mode):
            return None
        return ObjectInfo(key, etag_of(status), status.st_size)

    def get(self, key: str) -> bytes:
        with self._opened(key) as file:
            return file.read()

    def fetch(self, key: str, etag: str, target: Path, arrived: Arrived | None = None) -> None:
        with self._opened(key) as file:
            self._expect(file, etag, key)
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            # Buffered: write(2) on a disk that fills up takes a part and says nothing, which only a buffer looks at.
            with os.fdopen(descriptor, "wb") as copy:
                while chunk := file.read(_CHUNK):
                    copy.write(chunk)
                    if arrived:
                        arrived(len(chunk))
            self._expect(file, etag, key)

    def local_path(self, key: str) -> Path | None:
        return self._path(key)

    def put(
        self,
        key: str,
        body: bytes | Path,
        *,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        condition: Condition = None,
    ) -> str:
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return write_file(self._root, path, body, condition)
        except PreconditionFailed:
            if path.exists() and not path.is_file():
                raise RecordingError(
                    Reason.STORE_ERROR,
                    f"{key} could not be written below {self.uri}: what has that name is no file; move it away.",
                    retryable=False,
                ) from None
            raise
        except OSError as error:
            raise self._failed(error, key, "written") from error

    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            delete_file(self._root, path)
        except OSError as error:
            raise self._failed(error, key, "deleted") from error

    def supports_conditions(self) -> bool:
        return conditions_hold(self)

    def abort_uploads_of(self, prefix: str) -> int:
        return 0  # a directory keeps no parts, and the next writer removes a pending file

    def abort_stale_uploads(self, older_than_seconds: float) -> int:
        try:
            return remove_pending(self._root, older_than_seconds, time.time())
        except OSError as error:
            logger.warning("Left-overs in %s could not be removed: %s", self.uri, error)
            return 0

    def _walk(self, directory: Path, prefix: str, start: bytes = b"") -> Iterator[ObjectInfo]:
        """Files below, in the order of their keys' UTF-8 bytes: a folder sorts as `name/`, after `name.x`."""
        try:
            with os.scandir(directory) as entries:
                names = [os.fsencode(e.name) + (b"/" if e.is_dir(follow_symlinks=False) else b"") for e in entries]
        except FileNotFoundError:
            return
        except OSError as error:
            raise ConfigurationError(
                f"{directory} cannot be listed ({error.strerror}); check its permissions."
            ) from error
        for name in sorted(name for name in names if name.startswith(start)):
            try:
                key = prefix + name.decode()
            except UnicodeDecodeError:
                logger.warning("%s is passed over: its name is not UTF-8; rename it.", directory / os.fsdecode(name))
                continue
            path = directory / os.fsdecode(name)
            if name.endswith(b"/"):
                yield from self._walk(path, key)
            elif key not in OWN_NAMES and (found := self._describe(path, key)):
                yield found

    def _describe(self, path: Path, key: str) -> ObjectInfo | None:
        try:
            status = path.stat()
        except OSError as error:
            # What was removed since its folder was read is no object any more; a link that leads nowhere is a mistake.
            if path.is_symlink() or not isinstance(error, FileNotFoundError):
                logger.warning("%s is passed over: %s.", path, error.strerror)
            return None
        if not stat.S_ISREG(status.st_mode):
            logger.warning("%s is passed over: it is no file (links to directories are not followed).", path)
            return None
        return ObjectInfo(key, etag_of(status), status.st_size, modified=status.st_mtime)

    @contextmanager
    def _opened(self, key: str) -> Iterator[BinaryIO]:
        try:
            # Without O_NONBLOCK the opening of a named pipe waits for ever.
            descriptor = os.open(self._path(key), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise RecordingError(Reason.NOT_FOUND, f"{key} below {self.uri} is no file.")
                yield file
        except FileExistsError:
            raise
        except OSError as error:
            raise self._failed(error, key, "read") from error

    def _expect(self, file: BinaryIO, etag: str, key: str) -> None:
        if etag_of(os.fstat(file.fileno())) != etag:
            raise RecordingError(
                Reason.CHANGED, f"{key} below {self.uri} is no longer the version that was listed; run the job again."
            )

    def _path(self, key: str) -> Path:
        """The file of a key. Raises RecordingError where the key is no file's name below the directory."""
        parts = key.split("/")
        try:
            longest = max(len(part.encode()) for part in parts)
        except UnicodeEncodeError:
            longest = _LONGEST_NAME + 1
        if longest > _LONGEST_NAME or "\0" in key or any(part in ("", ".", "..") for part in parts):
            raise RecordingError(
                Reason.STORE_ERROR,
                f"{key!r} cannot be a file below {self.uri}: a name between slashes has 1 to {_LONGEST_NAME} bytes and "
                "is neither . nor ..; rename it or use an s3:// location.",
                retryable=False,
            )
        path = self._root.joinpath(*parts)
        try:
            inside = path.resolve().is_relative_to(self._root.resolve())
        except RuntimeError:  # links that lead to each other
            inside = False
        if not inside:
            raise RecordingError(
                Reason.ACCESS_DENIED,
                f"{key} leads out of {self.uri} through a link; put the file itself there or give its directory.",
            )
        return path

    def _failed(self, error: OSError, key: str, verb: str) -> RecordingError:
        what = f"{key} could not be {verb} below {self.uri}"
        match error:
            case OSError(errno=errno.ENOSPC | errno.EDQUOT):
                return RecordingError(Reason.NO_SPACE, f"{what}: no space left.")
            case FileNotFoundError():
                return RecordingError(Reason.NOT_FOUND, f"{key} does not exist below {self.uri}.")
            case PermissionError() | OSError(errno=errno.EROFS):
                return RecordingError(Reason.ACCESS_DENIED, f"{what} ({error.strerror}); check its permissions.")
            case IsADirectoryError() | NotADirectoryError() | FileExistsError():
                return RecordingError(
                    Reason.STORE_ERROR,
                    f"{what}: a file and a directory would need the same name; rename one or use an s3:// location.",
                    retryable=False,
                )
        return RecordingError(Reason.STORE_ERROR, f"{what} ({error.strerror}).")
