"""Where objects live: `s3://` URIs and directories behind one protocol (`protocol.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from transcription_worker.errors import ConfigurationError
from transcription_worker.store.protocol import Store
from transcription_worker.store.settings import StoreSettings

if TYPE_CHECKING:
    from transcription_worker.store.process import StoreProcesses

__all__ = ["Store", "StoreSettings", "open_store", "with_processes"]


def open_store(uri: str, settings: StoreSettings | None = None) -> Store:
    """The store of one location; nothing is contacted before its first method is called.

    Args:
        uri: `s3://bucket[/prefix]`, `file:///directory` or a directory's path. A prefix is a folder: `s3://b/p` and
            `s3://b/p/` are the same location, and `p2/x` is not in it.
        settings: how S3 is reached; ignored by a directory.

    Raises:
        ConfigurationError: the URI is none of these.
    """
    if uri.startswith("s3://"):
        # boto3 takes a second to import, and what works on directories need not have it.
        from transcription_worker.store.s3 import S3Store

        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        if not bucket:
            raise ConfigurationError(f"{uri} names no bucket; write s3://<bucket>/<prefix>.")
        return S3Store(bucket, prefix, settings or StoreSettings())

    from transcription_worker.store.local import LocalStore

    if uri.startswith("file://"):
        parts = urlsplit(uri)
        if parts.netloc not in ("", "localhost"):
            raise ConfigurationError(f"{uri} names the host {parts.netloc}; write file:///<directory>.")
        return LocalStore(Path(unquote(parts.path)), uri)
    if "://" in uri:
        raise ConfigurationError(f"{uri} is of an unknown kind; write s3://<bucket>/<prefix> or a directory.")
    if not uri:
        raise ConfigurationError("The location is empty; write s3://<bucket>/<prefix> or a directory.")
    return LocalStore(Path(uri), uri)


def with_processes(store: Store, processes: StoreProcesses) -> Store:
    """The same location with its small requests made by other processes; a directory has none to give away."""
    if not store.uri.startswith("s3://"):
        return store
    from transcription_worker.store.process_store import ProcessStore
    from transcription_worker.store.s3 import S3Store

    assert isinstance(store, S3Store)
    return ProcessStore(store, processes)
