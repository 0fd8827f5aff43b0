"""The store module by itself against each kind of misbehaviour at each kind of request. No model, no worker.

Each trial has a store of its own (client, pool, retry quota), as each process has, and an object of its own.
"""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.store_faults import Asked, Kind, Storm, only, storm
from tests.s3server import S3Server
from transcription_worker.errors import (
    ConfigurationError,
    PreconditionFailed,
    RecordingError,
    RetryableError,
    TranscriptionError,
    exit_code,
)
from transcription_worker.store import StoreSettings
from transcription_worker.store.protocol import IfAbsent
from transcription_worker.store.s3 import S3Store

MIB = 1 << 20
ATTEMPTS = 5
MOST_REQUESTS = 4 * ATTEMPTS
"""Of one sort, for one call of the store: attempts of the client, times what takes up a broken body."""
READ_SECONDS = 1.0
"""Read timeout of the trials, far below the product's, so that stalls pass it."""

IN_PARTS = frozenset({Asked.BEGIN, Asked.PART, Asked.COMPLETE, Asked.ABORT, Asked.UPLOADS})
BODIES_DAMAGED = frozenset({Kind.BIT_FLIP, Kind.SHORTENED})
GIVEN_BACK = frozenset({(Kind.CONFLICT, Asked.COMPLETE), (Kind.BROKEN_OFF, Asked.LIST)})
"""What the store does not try again by itself: S3 wants the whole upload once more, and who lists has seen a part."""


@dataclass(frozen=True, slots=True)
class Trial:
    """`times` requests of the sort are struck; None: every one."""

    kind: Kind
    asked: Asked
    times: int | None

    def __str__(self) -> str:
        return f"{self.kind} at {self.asked}, {'always' if self.times is None else f'{self.times} times'}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a trial ended: `error` is None where the call succeeded; `faults` says what broke a promise, if anything."""

    trial: Trial
    error: TranscriptionError | None
    requests: int
    struck: int
    seconds: float
    uploads_left: int
    faults: tuple[str, ...]


def trials() -> Iterator[Trial]:
    """Every kind at every request that it can strike: twice in a row, and always."""
    for asked in Asked:
        for kind in Kind:
            if kind.strikes(asked):
                yield from (Trial(kind, asked, times) for times in ((2, None) if kind.passes else (None,)))


class Bench:
    """A bucket to try things out in. Thread-safe: each trial has a prefix of its own."""

    def __init__(self, server: S3Server, bucket: str) -> None:
        self._server = server
        self._bucket = bucket
        self._direct = _store(server.endpoint, bucket, "")

    def try_out(self, trial: Trial) -> Verdict:
        prefix = uuid.uuid4().hex[:12]
        # The first body of a location tells the store what the ETags there are.
        first = trial.kind in BODIES_DAMAGED and trial.asked is Asked.GET
        with (
            storm(self._server, only(trial.kind, trial.asked, times=trial.times, after=int(first))) as weather,
            tempfile.TemporaryDirectory() as folder,
        ):
            store = _store(weather.endpoint, self._bucket, prefix)
            if first:
                self._direct.put(f"{prefix}/first", b"first")
                store.get("first")
            started = time.monotonic()
            error: TranscriptionError | None = None
            wrong: tuple[str, ...] = ()
            try:
                wrong = tuple(self._call(trial.asked, prefix, store, Path(folder)))
            except TranscriptionError as caught:
                error = caught
            except Exception as caught:
                wrong = (f"{type(caught).__name__} reached the caller: {caught}",)
            seconds = time.monotonic() - started
        uploads = self._uploads_after_sweep(prefix) if trial.asked in IN_PARTS else 0
        faults = (*wrong, *_judge(trial, error, weather, uploads))
        return Verdict(trial, error, weather.asked[trial.asked], weather.injected.total(), seconds, uploads, faults)

    def _call(self, asked: Asked, prefix: str, store: S3Store, folder: Path) -> Iterator[str]:
        """Make the store send a request of this sort; yields what is wrong with what came of it."""
        direct, key, body = self._direct, f"{prefix}/k", os.urandom(60_000)
        if asked in (Asked.GET, Asked.HEAD, Asked.DELETE):
            etag = direct.put(key, body, metadata={"duration": "2"})
        if asked is Asked.GET:
            if store.get("k") != body:
                yield "a wrong body was returned"
            store.fetch("k", etag, folder / "copy")
            if (folder / "copy").read_bytes() != body:
                yield "a wrong body was fetched"
        elif asked is Asked.HEAD:
            found = store.head("k")
            if found is None or (found.etag, found.metadata) != (etag, {"duration": "2"}):
                yield f"HEAD gave {found}"
        elif asked is Asked.LIST:
            for number in range(5):
                direct.put(f"{prefix}/{number}", b"x")
            if [info.key for info in store.list()] != [f"{number}" for number in range(5)]:
                yield "the listing is not whole"
        elif asked in (Asked.PUT, Asked.PUT_IF):
            etag = store.put("k", body, condition=IfAbsent() if asked is Asked.PUT_IF else None)
            if direct.get(key) != body:
                yield "a wrong body was stored"
            found = direct.head(key)
            if found is None or found.etag != etag:
                yield "the ETag of another version was returned"
        elif asked is Asked.DELETE:
            store.delete("k")
            if direct.head(key) is not None:
                yield "the object is still there"
        elif asked in (Asked.UPLOADS, Asked.ABORT):
            self._begin_and_leave(prefix)
            store.abort_stale_uploads(0)
        else:
            large = folder / "large"
            large.write_bytes(os.urandom(1024) * (5 * 1024 + 1))
            store.put("k", large, condition=IfAbsent())
            if direct.get(key) != large.read_bytes():
                yield "a wrong large object was stored"

    def _begin_and_leave(self, prefix: str) -> None:
        """What a process leaves that dies in the middle of an upload: the product's note, and the upload."""
        self._direct.put(f"{prefix}/_transcription/.upload-x", f"{prefix}/k".encode())
        self._server.client().create_multipart_upload(Bucket=self._bucket, Key=f"{prefix}/k")

    def _uploads_after_sweep(self, prefix: str) -> int:
        """Multipart uploads below the prefix once the next job has swept."""
        store, client = _store(self._server.endpoint, self._bucket, prefix), self._server.client()
        deadline = time.monotonic() + 10
        while True:
            store.abort_stale_uploads(0)
            left = len(client.list_multipart_uploads(Bucket=self._bucket, Prefix=prefix).get("Uploads", ()))
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.1)


def _store(endpoint: str, bucket: str, prefix: str) -> S3Store:
    settings = StoreSettings(
        endpoint_url=endpoint,
        max_attempts=ATTEMPTS,
        read_timeout=READ_SECONDS,
        multipart_threshold=MIB,
        part_size=5 * MIB,
    )
    return S3Store(bucket, prefix, settings)


def _judge(trial: Trial, error: TranscriptionError | None, weather: Storm, uploads: int) -> Iterator[str]:
    """What a trial's end has against the promise."""
    struck = weather.injected.total()
    if not struck:
        yield "the trial shows nothing: nothing was struck"
    if error is None and trial.times is None and _must_be_told(trial):
        yield "nobody was told"
    if error is not None:
        yield from judge_sentence(str(error))
        if trial.times is not None and (trial.kind, trial.asked) not in GIVEN_BACK:
            yield f"{struck} faults that pass ended the call: {error}"
        if trial.kind.passes and not _is_passing(error):
            yield f"a fault that may pass is exit {exit_code(error)}: {error}"
        expected = RetryableError if trial.kind is Kind.SKEWED else ConfigurationError
        if not trial.kind.passes and not isinstance(error, expected):
            yield f"what does not pass by itself is {type(error).__name__}: {error}"
    if weather.asked[trial.asked] > MOST_REQUESTS:
        yield f"{weather.asked[trial.asked]} requests were sent for one call"
    if uploads:
        yield f"{uploads} uploads are left after the sweep"


def _must_be_told(trial: Trial) -> bool:
    """A sweep never ends a job: what it could not remove is logged and left to the next one. What was acted on ended
    well, where the writer can see that it did."""
    return trial.asked not in (Asked.UPLOADS, Asked.ABORT) and trial.kind not in (Kind.LOST_ANSWER, Kind.GATEWAY)


def _is_passing(error: TranscriptionError) -> bool:
    if isinstance(error, RecordingError):
        return error.retryable
    return isinstance(error, RetryableError | PreconditionFailed)


def judge_sentence(text: str) -> Iterator[str]:
    """One line that says what, where, and ends as a sentence does."""
    if "\n" in text or "Traceback" in text:
        yield f"more than a sentence: {text!r}"
    if not text.endswith("."):
        yield f"no sentence: {text!r}"
    if "s3://" not in text:
        yield f"it does not say where: {text!r}"
