"""An object store in memory, and how far away it is: each request takes virtual time and is counted."""

from __future__ import annotations

import bisect
import hashlib
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation.clock import World
from transcription_worker.errors import PreconditionFailed, Reason, RecordingError
from transcription_worker.store.protocol import Arrived, Condition, IfAbsent, IfMatch, ObjectInfo

PAGE = 1000
"""Keys per listing request, as in S3."""


class MemoryStore:
    """Objects by key; keys are kept sorted by folder, so that a listing of claims does not walk over transcripts."""

    uri = "memory://bucket"

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self._clock = clock
        self._objects: dict[str, tuple[bytes, ObjectInfo]] = {}
        self._folders: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    def check(self, *, write: bool) -> None:
        return

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for page, _ in self.pages(prefix):
            yield from page

    def pages(self, prefix: str) -> Iterator[tuple[Sequence[ObjectInfo], bool]]:
        """Pages of a listing, each as the store is when it is asked for, and whether another one follows."""
        after = ""
        while True:
            keys = self._folders.get(prefix.rpartition("/")[0], [])
            start = bisect.bisect_right(keys, after) if after else bisect.bisect_left(keys, prefix)
            end = bisect.bisect_left(keys, prefix + "\U0010ffff")
            page = keys[start : min(end, start + PAGE)]
            more = start + PAGE < end
            yield [self._objects[key][1] for key in page], more
            if not more:
                return
            after = page[-1]

    def scan(self) -> Iterator[ObjectInfo]:
        return iter([info for _, info in self._objects.values()])

    def head(self, key: str) -> ObjectInfo | None:
        found = self._objects.get(key)
        return found[1] if found else None

    def find(self, key: str) -> bytes | None:
        found = self._objects.get(key)
        return found[0] if found else None

    def get(self, key: str) -> bytes:
        body = self.find(key)
        if body is None:
            raise RecordingError(Reason.NOT_FOUND, f"{key} is not there")
        return body

    def fetch(self, key: str, etag: str, target: Path, arrived: Arrived | None = None) -> None:
        """Audio is not simulated: what a fetch costs is the caller's."""

    def local_path(self, key: str) -> Path | None:
        return None

    def put(
        self,
        key: str,
        body: bytes | Path,
        *,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        condition: Condition = None,
    ) -> str:
        assert isinstance(body, bytes)
        with self._lock:
            there = self._objects.get(key)
            if isinstance(condition, IfAbsent) and there:
                raise PreconditionFailed(f"{key} is there")
            if isinstance(condition, IfMatch) and (not there or there[1].etag != condition.etag):
                raise PreconditionFailed(f"{key} is another version")
            etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
            self._objects[key] = (body, ObjectInfo(key, etag, len(body), metadata or {}, self._clock()))
            if not there:
                bisect.insort(self._folders.setdefault(key.rpartition("/")[0], []), key)
            return etag

    def delete(self, key: str) -> None:
        with self._lock:
            if self._objects.pop(key, None):
                self._folders[key.rpartition("/")[0]].remove(key)

    def supports_conditions(self) -> bool:
        return True

    def abort_stale_uploads(self, older_than_seconds: float) -> int:
        return 0

    def abort_uploads_of(self, prefix: str) -> int:
        return 0


@dataclass
class Meter:
    """What was asked of a bucket, by method and folder, such as `put claims`; recordings and transcripts have none.

    `lost` counts conditional writes that found the key taken; `last_put` says when the last write took effect.
    """

    requests: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    last_put: dict[str, float] = field(default_factory=dict)


def folder_of(key: str) -> str:
    return key.split("/")[2] if key.startswith("_transcription/") else ""


class RemoteStore(MemoryStore):
    """The same objects, some milliseconds away: a request takes effect half-way, and its sender may die before or
    after."""

    def __init__(self, store: MemoryStore, world: World, meter: Meter, rng: random.Random) -> None:
        self._store = store
        self._world = world
        self._meter = meter
        self._rng = rng

    def _travel(self, method: str, key: str) -> None:
        self._meter.requests[f"{method} {folder_of(key)}".strip()] += 1
        self._pass()

    def _pass(self) -> None:
        self._world.sleep(self._rng.uniform(0.002, 0.02))

    def pages(self, prefix: str) -> Iterator[tuple[Sequence[ObjectInfo], bool]]:
        pages = self._store.pages(prefix)
        more = True
        while more:
            self._travel("list", prefix)
            page, more = next(pages)
            self._pass()
            yield page, more

    def head(self, key: str) -> ObjectInfo | None:
        self._travel("head", key)
        found = self._store.head(key)
        self._pass()
        return found

    def get(self, key: str) -> bytes:
        self._travel("get", key)
        body = self._store.find(key)
        self._pass()
        if body is None:
            raise RecordingError(Reason.NOT_FOUND, f"{key} is not there")
        return body

    def fetch(self, key: str, etag: str, target: Path, arrived: Arrived | None = None) -> None:
        self._travel("fetch", key)

    def put(
        self,
        key: str,
        body: bytes | Path,
        *,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        condition: Condition = None,
    ) -> str:
        self._travel("put", key)
        etag, lost = "", None
        try:
            etag = self._store.put(key, body, content_type=content_type, metadata=metadata, condition=condition)
            self._meter.last_put[folder_of(key)] = self._world.now
        except PreconditionFailed as error:
            self._meter.lost[folder_of(key)] += 1
            lost = error
        self._pass()  # in no `finally`: the greenlet of a dead worker is unwound when it is collected
        if lost:
            raise lost
        return etag

    def delete(self, key: str) -> None:
        self._travel("delete", key)
        self._store.delete(key)
        self._pass()
