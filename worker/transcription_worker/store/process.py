"""Requests to S3 made by processes of their own.

botocore works for a millisecond or two on each request and holds the interpreter's lock meanwhile: with everything in
one process, short recordings leave a GPU idle however many CPUs there are. A call of a method goes over a socket to
a child (`child.py`), which makes the requests and sends back what the method returned or raised.
"""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from multiprocessing import Pipe
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any

from transcription_worker import fault_points
from transcription_worker.parent import spawn
from transcription_worker.store.protocol import Arrived
from transcription_worker.store.settings import StoreSettings

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

log = logging.getLogger(__name__)

CHILD_MODULE = "transcription_worker.store.child"
SMALL_HEAPS = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": str(256 << 10)}
"""For glibc: bodies come and go on 32 threads, and what a heap for each of them would keep adds up to 130 MB."""
STOP = "stop"
"""In place of a method: a call that is watched is to end at its next chunk."""


class Kind(Enum):
    """What an answer is."""

    READY = auto()
    """Calls are taken."""
    ARRIVED = auto()
    """A chunk has come, and the call goes on."""
    RETURNED = auto()
    RAISED = auto()
    LOST = auto()
    """The child has ended."""


@dataclass(frozen=True, slots=True)
class Place:
    """A location in S3, as the arguments of `S3Store`."""

    bucket: str
    prefix: str
    settings: StoreSettings


@dataclass(frozen=True, slots=True)
class Call:
    """A method of the `S3Store` of a place. `watched`: it takes `arrived`, and each chunk is told."""

    number: int
    place: Place
    method: str
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    watched: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    number: int
    kind: Kind
    value: Any


class ChildLostError(Exception):
    """The child has ended; whether the call was carried out is not known."""


class StoreProcess:
    """One child, for many threads at once.

    Args:
        threads: how many calls it works on at once.
    """

    def __init__(self, threads: int) -> None:
        ours, theirs = Pipe()
        self._connection: Connection[Call, Answer] = ours
        environment = {name: value for name, value in os.environ.items() if name != fault_points.VARIABLE}
        with theirs:
            # -P: no module from the working directory; -B: no bytecode files.
            self._process = spawn(
                [sys.executable, "-P", "-B", "-m", CHILD_MODULE, str(theirs.fileno()), str(threads)],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=environment | SMALL_HEAPS,
            )
        self._numbers = itertools.count(1)
        self._calls: dict[int, SimpleQueue[Answer]] = {}
        self._sending = threading.Lock()
        self._lost = self._closed = False
        self.ready = False
        """Whether it takes calls: not before it has imported what it needs, and not after its end."""
        self._receiver = threading.Thread(target=self._receive, name="store-answers", daemon=True)
        self._receiver.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def call(self, place: Place, method: str, *arguments: Any, arrived: Arrived | None = None, **options: Any) -> Any:
        """What the method returns.

        Raises:
            ChildLostError: nobody knows what it returned.
            Exception: whatever the method or `arrived` raises.
        """
        call = Call(next(self._numbers), place, method, arguments, options, watched=arrived is not None)
        answers: SimpleQueue[Answer] = SimpleQueue()
        self._calls[call.number] = answers
        refusal: BaseException | None = None
        try:
            self._send(call)
            while True:
                answer = answers.get()
                if answer.kind is Kind.ARRIVED and refusal is None:
                    assert arrived is not None
                    try:
                        arrived(answer.value)
                    except BaseException as error:  # until it has ended it may still write: its end is waited for
                        refusal = error
                        with suppress(ChildLostError):
                            self._send(Call(call.number, place, STOP))
                elif answer.kind is not Kind.ARRIVED:
                    break
        finally:
            del self._calls[call.number]
        if refusal is not None:
            raise refusal
        if answer.kind is Kind.LOST:
            raise ChildLostError
        if answer.kind is Kind.RAISED:
            raise answer.value
        return answer.value

    def close(self) -> None:
        """End it, and wait for its end: what it is still at is nobody's any more."""
        self._closed = True
        self._process.kill()
        self._receiver.join()
        self._connection.close()

    def _send(self, call: Call) -> None:
        with self._sending:
            if self._lost:
                raise ChildLostError
            try:
                self._connection.send(call)
            except OSError:
                raise ChildLostError from None

    def _receive(self) -> None:
        try:
            while True:
                answer = self._connection.recv()
                if answer.kind is Kind.READY:
                    self.ready = True
                else:
                    self._calls[answer.number].put(answer)
        except (EOFError, OSError):
            pass
        finally:
            self.ready = False
            self._process.kill()  # where it is only its answer that was none: nobody may write what is written again
            code = self._process.wait()
            with self._sending:
                self._lost = True
            if not self._closed:
                log.warning("a store process ended with %d: the worker makes its requests without it", code)
            for number, waiting in self._calls.copy().items():
                waiting.put(Answer(number, Kind.LOST, None))


class StoreProcesses:
    """Children that share the calls. They start with `start`; until one is ready, and where one has ended, there is
    none to call, and callers do without.
    """

    def __init__(self, count: int, threads: int = StoreSettings().max_connections) -> None:
        self._count = count
        self._threads = threads
        self._starting = threading.Lock()
        self._processes: tuple[StoreProcess, ...] = ()
        self._started = False
        self._turns = itertools.count()

    def __enter__(self) -> StoreProcesses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._starting:
            self._started = True
            for process in self._processes:
                process.close()

    def start(self) -> None:
        """Begin to start them, if that has not been done; where the system refuses one, those before it have to do."""
        if self._started:
            return
        with self._starting:
            try:
                while not self._started:
                    self._processes += (StoreProcess(self._threads),)
                    self._started = len(self._processes) == self._count
            except OSError as error:
                self._started = True
                log.warning("%d of %d store processes could be started: %s", len(self._processes), self._count, error)

    def any(self) -> StoreProcess | None:
        """One that takes calls, each in its turn."""
        ready = [process for process in self._processes if process.ready]
        return ready[next(self._turns) % len(ready)] if ready else None
