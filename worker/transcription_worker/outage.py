"""A store that is away: how it is found out, and the wait of a worker that ends because of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from transcription_worker.errors import ClockError, ConfigurationError, RetryableError, TranscriptionError
from transcription_worker.store.protocol import Store
from transcription_worker.time_use import Stopwatch

log = logging.getLogger(__name__)

OUTAGE_SECONDS, LOOK_SECONDS = 120.0, 2.0
"""How long a worker that ends because a store is away waits for it, and how often it looks."""
TURN_SECONDS = 0.1


def what_is_away(stores: Iterable[Store]) -> TranscriptionError | None:
    """Why one of them cannot be used, or None where all answer."""
    for store in stores:
        try:
            store.check(write=False)
        except (ConfigurationError, RetryableError) as error:
            return error
    return None


def wait_out(away: Callable[[], TranscriptionError | None], *, until: threading.Event) -> None:
    """Wait until nothing is away any more, or `until`, or for two minutes at most.

    It is asked on a thread: a store that takes connections and says nothing keeps whoever asks for five minutes.
    """
    answered, given_up = threading.Event(), threading.Event()

    def ask() -> None:
        try:
            while not given_up.is_set() and _passes(away()):
                given_up.wait(LOOK_SECONDS)
        finally:
            answered.set()

    watch = Stopwatch()
    if not until.is_set():
        log.warning("waiting for the store, %.0f s at most, before this worker ends", OUTAGE_SECONDS)
        threading.Thread(target=ask, name="outage", daemon=True).start()
    while not until.is_set() and watch.seconds() < OUTAGE_SECONDS and not answered.wait(TURN_SECONDS):
        pass
    given_up.set()


def _passes(error: TranscriptionError | None) -> bool:
    return isinstance(error, RetryableError) and not isinstance(error, ClockError)
