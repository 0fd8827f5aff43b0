"""The timesheet that a worker keeps in the bucket while it works: one object, written anew every few minutes and once
more when the worker ends, so that the report lacks no more than the last minutes of one that was killed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from transcription_worker.errors import TranscriptionError
from transcription_worker.store.protocol import Store
from transcription_worker.time_use import Timesheet

log = logging.getLogger(__name__)

KEPT_EVERY_SECONDS = 300.0
END_SECONDS = 30.0
"""What the last writing may hold up a worker's end; the store may be what ends it."""


@contextmanager
def kept_timesheet(store: Store, key: str, sheet: Callable[[], Timesheet | None]) -> Iterator[None]:
    """Keep a timesheet while the block runs. Nothing depends on it: where the store is away the report goes without.

    Args:
        sheet: the figures so far; None where there are none worth telling.
    """
    ended = threading.Event()

    def write() -> None:
        if now := sheet():
            try:
                store.put(key, now.to_json(), content_type="application/json")
            except TranscriptionError as error:
                log.warning("the worker's timesheet could not be written: %s", error)

    def keep() -> None:
        while not ended.wait(KEPT_EVERY_SECONDS):
            write()
        write()

    keeper = threading.Thread(target=keep, name="timesheet", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join(END_SECONDS)
