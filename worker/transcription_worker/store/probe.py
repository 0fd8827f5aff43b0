"""Asks a store with real writes whether its conditional writes hold. Works on any `Store`."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from transcription_worker.errors import PreconditionFailed, RecordingError
from transcription_worker.layout import JOBS_PREFIX
from transcription_worker.store.protocol import IfAbsent, IfMatch, Store

PROBES = f"{JOBS_PREFIX}.probe-"
"""Keys of probe objects start with this; one that stays behind belongs to a process that was killed."""

_RACERS = 8
_WRONG_ETAG = "0" * 32


WRITABLE = f"{PROBES}write"
"""What whoever checks that a location can be written puts and deletes again: one name for all, so that the next one
takes away what a killed one left."""


def probe_key() -> str:
    return f"{PROBES}{uuid.uuid4().hex}"


def conditions_hold(store: Store) -> bool:
    """True where If-None-Match and If-Match are honoured, also by writers that race for one key.

    The race is no luxury: there are stores that refuse the second of two writes one after the other, and take all of
    several at once.

    Raises:
        RecordingError: a probe could not be written for another reason.
    """
    key = probe_key()
    try:
        etag = store.put(key, b"first", condition=IfAbsent())
        refused = _refuses(store, key, IfAbsent()) and _refuses(store, key, IfMatch(_WRONG_ETAG))
        if not refused:
            return False
        store.put(key, b"second", condition=IfMatch(etag))
        if not _refuses(store, key, IfMatch(etag)):
            return False
    except PreconditionFailed:
        return False
    except RecordingError as error:
        if error.retryable:
            raise
        # "Not implemented", "invalid header": refused because of the condition, for `check` could write.
        return False
    finally:
        store.delete(key)
    return _race_has_one_winner(store)


def _refuses(store: Store, key: str, condition: IfAbsent | IfMatch) -> bool:
    try:
        store.put(key, b"must not be written", condition=condition)
    except PreconditionFailed:
        return True
    return False


def _race_has_one_winner(store: Store) -> bool:
    key = probe_key()
    start = threading.Barrier(_RACERS)

    def race(racer: int) -> bool:
        start.wait()
        with suppress(PreconditionFailed):
            store.put(key, b"%d" % racer, condition=IfAbsent())
            return True
        return False

    try:
        with ThreadPoolExecutor(_RACERS) as racers:
            return sum(racers.map(race, range(_RACERS))) == 1
    finally:
        store.delete(key)
