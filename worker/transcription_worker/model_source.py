"""Where a job's model comes from, and how it becomes a local file: the hub, an object store, or a path.

A download gets its name in the cache when it is whole and, where the job pins a digest, is the right one; locks and
partial files are `model_cache.py`, the hub is `model_hub.py`. Whether the file is a model that can be used says
`nemo_archive.py`; none is loaded here.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from transcription_worker.errors import ConfigurationError, Reason, RecordingError, RetryableError
from transcription_worker.fault_points import Point, reach
from transcription_worker.model_cache import (
    WriterStandsStillError,
    hub_folder,
    models_folder,
    only_writer,
    partial_path,
    sweep_partials,
)
from transcription_worker.model_hub import hub_download, hub_file, repository_folder
from transcription_worker.nemo_archive import check_archive, check_header
from transcription_worker.scratch_space import NO_SPACE_ERRNOS
from transcription_worker.store import Store, StoreSettings, open_store
from transcription_worker.store.protocol import Arrived, ObjectInfo

if TYPE_CHECKING:
    from transcription_worker.scratch import Scratch

log = logging.getLogger(__name__)

S3 = "s3://"


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """`spec.model`: exactly one of the first three.

    Attributes:
        name: `<owner>/<model>` on the Hugging Face hub.
        uri: `s3://bucket/key`, `file:///path` or a path.
        path: a file on a mounted volume.
        sha256: 64 hexadecimal digits that the file must have.
    """

    name: str | None = None
    uri: str | None = None
    path: Path | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """Bytes of the model's file and of what is not in the cache yet; None where only the hub knows."""

    size: int | None = None
    to_download: int | None = None


class ModelSource:
    """One model, wherever it is; nothing is contacted before a method is called.

    Args:
        request: which one.
        settings: how object stores are reached.
    """

    def __init__(self, request: ModelRequest, settings: StoreSettings | None = None) -> None:
        self._request = request
        self._settings = settings
        self._pin = request.sha256.lower().removeprefix("sha256:") if request.sha256 else None
        self._object = request.uri if request.uri and request.uri.startswith(S3) else None
        self._path = request.path or (_local_path(request.uri) if request.uri and not self._object else None)

    def identity(self) -> str:
        """What transcripts say they were made with: the same string in every process of a job, and in the next job.

        `sha256:<hex>` for files and for everything pinned, `s3:<etag>` for objects, `hub:<name>` for hub models. The
        hub may have another revision under that name tomorrow: pin a digest where that matters. Downloads nothing.

        Raises:
            ConfigurationError: there is no such file or object, it may not be read, or the file is not a .nemo.
            RetryableError: the store is away.
        """
        if self._path is not None:
            check_archive(self._path)
            return f"sha256:{self._pin or self._digest_of_file}"
        if self._object is not None:
            etag = self._found().etag
            return f"sha256:{self._pin}" if self._pin else f"s3:{etag}"
        hub_file(self._name)
        return f"sha256:{self._pin}" if self._pin else f"hub:{self._name}"

    def fetch(self, cache: Path, scratch: Scratch, arrived: Arrived | None = None) -> Path:
        """The model as a local file, verified against the pin; downloads what the cache does not have.

        Any number of processes may share a cache: one downloads, the others wait for it while it goes on.

        Args:
            cache: a directory for models, best on a disk that outlives the process.
            scratch: swept where the cache's disk is full, for it may be the same disk; takes the model where the
                process that is waited for stands still.
            arrived: called after each chunk from an object store, with 0 while another process is waited for, before
                the hub is asked, and before a file that is there is hashed, which takes seconds; what it raises ends
                the download.

        Raises:
            ConfigurationError: as `identity`; not the pinned digest; no such model on the hub; no usable cache.
            RetryableError: store or hub is away; no space; the object changed on the way.
        """
        if self._path is not None:
            check_archive(self._path)
            if self._pin is not None and arrived:
                arrived(0)
            self._verify(self._path)
            return self._path
        sweep_partials(cache)
        try:
            return self._downloaded(cache, arrived)
        except _NoSpaceError as error:
            log.warning("%s Scratch is swept before another attempt.", error)
            scratch.sweep()
        except WriterStandsStillError:
            log.warning("who fetches the model into %s stands still: it is fetched into scratch too", cache)
            cache = scratch.path / "model"
        return self._downloaded(cache, arrived)

    def probe(self, cache: Path) -> Probe:
        """Whether the model can be had, as far as that can be told in a moment; downloads nothing, asks no hub.

        Raises:
            ConfigurationError: as `identity`; RetryableError: the store is away.
        """
        if self._path is not None:
            check_header(self._path)
            return Probe(size=self._path.stat().st_size, to_download=0)
        if self._object is None:
            hub_file(self._name)
            return Probe()
        found = self._found()
        cached = (models_folder(cache) / f"{self._stem(found.etag)}.nemo").exists()
        return Probe(size=found.size, to_download=0 if cached else found.size)

    def _downloaded(self, cache: Path, arrived: Arrived | None) -> Path:
        try:
            with _one_sentence(cache):
                return self._from_hub(cache, arrived) if self._object is None else self._from_store(cache, arrived)
        except OSError as error:
            if error.errno in NO_SPACE_ERRNOS:
                raise _NoSpaceError(cache) from error
            raise ConfigurationError(
                f"The model cache {cache} cannot be used ({error.strerror or error}); give this user a writable one."
            ) from error

    def _from_store(self, cache: Path, arrived: Arrived | None) -> Path:
        etag = self._found().etag
        stem = self._stem(etag)
        place = models_folder(cache) / f"{stem}.nemo"
        with only_writer(cache, stem, partial(arrived, 0) if arrived else lambda: None):
            if place.exists():
                if self._pin is not None and arrived:
                    arrived(0)
                if self._pin is None or sha256_of(place) == self._pin:
                    return place
                log.warning("%s is damaged and is fetched again", place)
                place.unlink()
            incomplete = partial_path(cache, stem)
            started = time.monotonic()
            try:
                store, key = self._store
                reach(Point.MODEL_BEGUN)
                store.fetch(key, etag, incomplete, arrived)
                self._verify(incomplete)
                reach(Point.MODEL_FETCHED)
                incomplete.replace(place)
                reach(Point.MODEL_PLACED)
            finally:
                incomplete.unlink(missing_ok=True)
        log.info("fetched %s: %d bytes in %.1f s", self._object, place.stat().st_size, time.monotonic() - started)
        return place

    def _from_hub(self, cache: Path, arrived: Arrived | None) -> Path:
        with only_writer(cache, repository_folder(self._name), partial(arrived, 0) if arrived else lambda: None):
            if arrived:
                arrived(0)  # the last moment: the hub's client tells nothing until it is through
            path = hub_download(self._name, hub_folder(cache))
        self._verify(path)
        return path

    @property
    def _name(self) -> str:
        if not self._request.name:
            raise ConfigurationError("The job names no model; give spec.model.name, uri or volume.")
        return self._request.name

    @cached_property
    def _store(self) -> tuple[Store, str]:
        bucket, _, whole_key = str(self._object).removeprefix(S3).partition("/")
        prefix, _, key = whole_key.rpartition("/")
        if not bucket or not key:
            raise ConfigurationError(f"{self._object} names no object; write s3://<bucket>/<key of the .nemo>.")
        return open_store(f"{S3}{bucket}/{prefix}", self._settings), key

    def _found(self) -> ObjectInfo:
        store, key = self._store
        with _one_sentence(None):
            found = store.head(key)
        if found is None:
            raise ConfigurationError(f"The model {self._object} does not exist; correct spec.model.uri.")
        return found

    def _stem(self, etag: str) -> str:
        return self._pin or hashlib.sha256(f"{self._object}\n{etag}".encode()).hexdigest()

    @cached_property
    def _digest_of_file(self) -> str:
        return sha256_of(self._path) if self._path else ""

    def _verify(self, path: Path) -> None:
        if self._pin is not None and (found := sha256_of(path)) != self._pin:
            raise ConfigurationError(
                f"The model {self._object or self._path or self._name} has the SHA-256 {found}, and the job pins "
                f"{self._pin}; correct spec.model.sha256 or the model."
            )


class _NoSpaceError(RetryableError):
    def __init__(self, cache: Path) -> None:
        super().__init__(f"No space left in the model cache {cache}; give it a larger volume.")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in lower-case hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _local_path(uri: str) -> Path:
    if "://" not in uri:
        return Path(uri)
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise ConfigurationError(
            f"{uri} is not where a model can be; write s3://<bucket>/<key>, file:///<path> or a path."
        )
    return Path(unquote(parts.path))


@contextmanager
def _one_sentence(cache: Path | None) -> Iterator[None]:
    """The store speaks of recordings: here what a person must mend ends the job, and the rest is tried again."""
    try:
        yield
    except RecordingError as error:
        if error.reason is Reason.NO_SPACE and cache is not None:
            raise _NoSpaceError(cache) from error
        if error.retryable or error.reason is Reason.CHANGED:
            raise RetryableError(f"The model could not be fetched: {error}") from error
        raise ConfigurationError(f"The model could not be fetched: {error}") from error
