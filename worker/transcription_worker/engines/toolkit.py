"""Importing torch and NeMo, which takes seconds: once, and where something else is waited for, meanwhile."""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from transcription_worker.time_use import Stopwatch

log = logging.getLogger(__name__)

_importing = threading.Lock()


def import_toolkit() -> dict[str, float]:
    """Import them; the seconds that each took here. Whoever comes second, on any thread, waits for the first."""
    # Read at the first allocation: large tensors on huge pages save a tenth of the CPU time.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    watch = Stopwatch()
    with _importing, _uncollected():
        import torch  # noqa: F401

        seconds = {"torch": watch.lap()}
        import transcription_worker.engines.nemo_features
        import transcription_worker.engines.nemo_load  # noqa: F401
    return {**seconds, "toolkit": watch.lap()}


def import_meanwhile() -> None:
    """Begin on a thread of its own. What goes wrong there goes wrong again for whoever needs the toolkit."""
    threading.Thread(target=_import_or_tell, name="import", daemon=True).start()


def _import_or_tell() -> None:
    try:
        import_toolkit()
    except Exception as error:  # a second try may tell another
        log.warning("the toolkit cannot be imported: %s: %s", type(error).__name__, error)


def importing() -> bool:
    """Whether an import is under way, which nobody can end: Python would pull the interpreter away from under it."""
    return _importing.locked()


@contextmanager
def _uncollected() -> Iterator[None]:
    """A million objects that live for ever come with the toolkit: looking through them for garbage, while they are
    made and at every later collection, takes a tenth of the time that they take to import."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
