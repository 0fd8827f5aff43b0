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
from functools import cache
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from transcription_worker.errors import TranscriptionError
from transcription_worker.log_lines import log_to_stderr
from transcription_worker.parent import INTERRUPTIONS, die_with_parent
from transcription_worker.store.process import STOP, Answer, Call, Kind, Place

if TYPE_CHECKING:
    from transcription_worker.store.s3 import S3Store


class StoppedError(Exception):
    """Nobody waits for what this call brings."""


class Calls:
    """The calls under way, and the way back for their answers."""

    def __init__(self, connection: Connection[Answer, Call]) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._stopped: set[int] = set()

    def serve(self, threads: int) -> None:
        """Until nobody is there to call."""
        self._send(0, Kind.READY, None)
        with ThreadPoolExecutor(threads) as pool:
            while (call := self._next()) is not None:
                if call.method == STOP:
                    self._stopped.add(call.number)
                else:
                    pool.submit(self._answer, call, _open(call.place))
            os._exit(0)  # what is under way is nobody's any more

    def _next(self) -> Call | None:
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            return None

    def _answer(self, call: Call, store: S3Store) -> None:
        options = dict(call.options)
        if call.watched:
            options["arrived"] = lambda size: self._arrived(call.number, size)
        try:
            result = getattr(store, call.method)(*call.arguments, **options)
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


@cache
def _open(place: Place) -> S3Store:
    from transcription_worker.store.s3 import S3Store

    return S3Store(place.bucket, place.prefix, place.settings)


def _portable(error: Exception) -> Exception:
    """As it is, where it is sure to arrive so. Of what nobody expects the log is to tell where it was raised."""
    if isinstance(error, TranscriptionError):
        return error
    portable = error if isinstance(error, OSError) else RuntimeError(f"{type(error).__name__}: {error}")
    portable.add_note("".join(traceback.format_exception(error)))
    return portable


def main() -> None:
    # Whoever interrupts the worker means the worker, which drains and still needs its requests.
    for number in INTERRUPTIONS:
        signal.signal(number, signal.SIG_IGN)
    die_with_parent(signal.SIGKILL)
    log_to_stderr()
    from transcription_worker.store import s3  # noqa: F401  (it takes a second)

    Calls(Connection(int(sys.argv[1]))).serve(threads=int(sys.argv[2]))


if __name__ == "__main__":
    main()
