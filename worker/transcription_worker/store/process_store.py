"""A location in S3 whose small requests are made by other processes, wherever one is ready; else by this one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from transcription_worker.store.process import ChildLostError, Place, StoreProcesses
from transcription_worker.store.protocol import Arrived, Condition, ObjectInfo
from transcription_worker.store.s3 import S3Store


class ProcessStore:
    """An `S3Store`, and processes that do the same. The first fetch starts them: a job with nothing to do has none."""

    def __init__(self, store: S3Store, processes: StoreProcesses) -> None:
        self.uri = store.uri
        self._store = store
        self._place = Place(store.bucket, store.prefix, store.settings)
        self._processes = processes

    def head(self, key: str) -> ObjectInfo | None:
        found: ObjectInfo | None = self._call("head", key)
        return found

    def get(self, key: str) -> bytes:
        body: bytes = self._call("get", key)
        return body

    def fetch(self, key: str, etag: str, target: Path, arrived: Arrived | None = None) -> None:
        self._processes.start()
        if process := self._processes.any():
            try:
                process.call(self._place, "fetch", key, etag, target, arrived=arrived)
                return
            except ChildLostError:
                target.unlink(missing_ok=True)
                if arrived:
                    arrived(0)  # a worker that ends has closed its processes, and wants no new file
        self._store.fetch(key, etag, target, arrived)

    def put(
        self,
        key: str,
        body: bytes | Path,
        *,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        condition: Condition = None,
    ) -> str:
        options = {"content_type": content_type, "metadata": metadata, "condition": condition}
        etag: str = self._call("put", key, body, **options)
        return etag

    def delete(self, key: str) -> None:
        self._call("delete", key)

    def check(self, *, write: bool) -> None:
        self._store.check(write=write)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self._store.list(prefix)

    def scan(self) -> Iterator[ObjectInfo]:
        return self._store.scan()

    def local_path(self, key: str) -> Path | None:
        return self._store.local_path(key)

    def supports_conditions(self) -> bool:
        return self._store.supports_conditions()

    def abort_stale_uploads(self, older_than_seconds: float) -> int:
        return self._store.abort_stale_uploads(older_than_seconds)

    def abort_uploads_of(self, prefix: str) -> int:
        return self._store.abort_uploads_of(prefix)

    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        if process := self._processes.any():
            # A conditional write that was carried out is refused when it comes again, as a rival's would be: whoever
            # makes one looks then at what stands there.
            with suppress(ChildLostError):
                return process.call(self._place, method, *arguments, **options)
        return getattr(self._store, method)(*arguments, **options)
