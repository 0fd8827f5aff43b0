"""A process that makes requests to S3 for another: `python -m transcription_worker.store.child <descriptor>`.

Takes calls of `S3Store`'s methods from a socket, answers each when it is done (see `process.py`), many at once, and
ends when the socket does.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from multiprocessing.connection import Connection
from typing import Any

from transcription_worker.errors import TranscriptionError
from transcription_worker.parent import die_with_parent
from transcription_worker.store.process import END, STOP, Answer, Call, Kind, Place
from transcription_worker.store.s3 import S3Store


class StoppedError(Exception):
    """Nobody waits for what this call brings."""


class Calls:
    """The calls under way, and the way back for their answers."""

    def __init__(self, connection: Connection[Answer, Call]) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._stopped: set[int] = set()
        self._store = lru_cache(maxsize=None)(_open)

    def serve(self, threads: int) -> None:
        """Until nobody is there to call."""
        self._send(0, Kind.READY, None)
        with ThreadPoolExecutor(threads) as pool:
            while (call := self._next()) is not None:
                if call.method == STOP:
                    self._stopped.add(call.number)
                else:
                    pool.submit(self._answer, call)
            os._exit(0)  # what is under way is nobody's any more

    def _next(self) -> Call | None:
        try:
            call = self._connection.recv()
        except (EOFError, OSError):
            return None
        return None if call.method == END else call

    def _answer(self, call: Call) -> None:
        options = dict(call.options)
        if call.watched:
            options["arrived"] = lambda size: self._arrived(call.number, size)
        try:
            result = getattr(self._store(call.place), call.method)(*call.arguments, **options)
            self._send(call.number, Kind.RETURNED, result)
        except Exception as error:
            self._send(call.number, Kind.RAISED, _portable(error))
        finally:
            self._stopped.discard(call.number)

    def _arrived(self, number: int, size: int) -> None:
        if number in self._stopped:
            raise StoppedError
        self._send(number, Kind.ARRIVED, size)

    def _send(self, number: int, kind: Kind, value: Any) -> None:
        with self._sending:
            try:
                self._connection.send(Answer(number, kind, value))
            except OSError:
                os._exit(0)  # nobody is there to answer


def _open(place: Place) -> S3Store:
    return S3Store(place.bucket, place.prefix, place.settings)


def _portable(error: Exception) -> Exception:
    """As it is, where it is sure to arrive so."""
    if isinstance(error, TranscriptionError) or type(error).__module__ == "builtins":
        return error
    return RuntimeError("".join(traceback.format_exception(error)))


def main() -> None:
    # Whoever interrupts the worker means the worker, which drains and still needs its requests.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    die_with_parent(signal.SIGKILL)
    Calls(Connection(int(sys.argv[1]))).serve(threads=int(sys.argv[2]))


if __name__ == "__main__":
    main()
