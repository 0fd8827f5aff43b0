"""The parent's end of one decoding process: start it, speak frames with it, end it.

Knows nothing of recordings. That a child died or stalled is an exception here and becomes a reason in `decoder.py`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import subprocess
import sys
from collections.abc import Mapping

from transcription_worker.decode.wire import HEADER, MAX_BODY_BYTES, Kind, write_frame
from transcription_worker.parent import spawn

CHILD_MODULE = "transcription_worker.decode.child"
ANSWERS = frozenset(kind.value for kind in (Kind.INFO, Kind.AUDIO, Kind.END, Kind.ERROR))
EXIT_SECONDS = 5.0
PIPE_BYTES = 256 << 10
"""Of the pipe that the sound comes through. More would wake its reader less often; but a user may have 64 MiB of pipes
on a node before each new one is made tiny (pipe(7), pipe-user-pages-soft), and all pods are one user."""


class ChildDiedError(Exception):
    """The child ended in the middle of a conversation. `returncode` as in subprocess: negative for a signal."""

    def __init__(self, returncode: int) -> None:
        super().__init__(f"the decoding process ended with {returncode}")
        self.returncode = returncode


class ChildStalledError(Exception):
    """The child sent nothing for the allowed time."""


class ChildProcess:
    """One running child. Not thread-safe."""

    def __init__(self, environment: Mapping[str, str], memory_limit_bytes: int) -> None:
        # -P: no module from the working directory; -B: no bytecode files.
        command = [sys.executable, "-P", "-B", "-m", CHILD_MODULE, str(os.getpid()), str(memory_limit_bytes)]
        self._process = spawn(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(environment))
        assert self._process.stdin is not None and self._process.stdout is not None
        self._requests = self._process.stdin
        self._answers = self._process.stdout
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                fcntl.fcntl(self._answers, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._answers, selectors.EVENT_READ)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, kind: Kind, body: bytes) -> None:
        """Raises ChildDiedError when nobody reads any more."""
        try:
            write_frame(self._requests, kind, body)
        except BrokenPipeError:
            raise self._died() from None

    def receive(self, stall_seconds: float) -> tuple[Kind, bytearray]:
        """The next frame.

        Raises:
            ChildDiedError: the child ended instead, or sent what is no frame (it is then killed).
            ChildStalledError: not one byte came for `stall_seconds`.
        """
        kind, length = HEADER.unpack(self._read(HEADER.size, stall_seconds))
        if length > MAX_BODY_BYTES or kind not in ANSWERS:
            self._process.kill()
            raise self._died()
        return Kind(kind), self._read(length, stall_seconds)

    def end(self) -> None:
        """Close the conversation and reap the child; one that does not go by itself is killed."""
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()
        self._await_exit()
        self._release()

    def kill(self) -> None:
        """End and reap the child at once."""
        self._process.kill()
        self._release()

    def _release(self) -> None:
        self._process.wait()
        self._selector.close()
        self._answers.close()
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()

    def _read(self, length: int, stall_seconds: float) -> bytearray:
        body = bytearray(length)
        rest = memoryview(body)
        while rest:
            if not self._selector.select(stall_seconds):
                raise ChildStalledError
            received = os.readv(self._answers.fileno(), [rest])
            if received == 0:
                raise self._died()
            rest = rest[received:]
        return body

    def _died(self) -> ChildDiedError:
        """Its pipe is closed: it has ended, is about to, or has lost the thread of the conversation."""
        return ChildDiedError(self._await_exit())

    def _await_exit(self) -> int:
        try:
            return self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
