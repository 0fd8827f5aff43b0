"""The parent's side: `Decoder` owns one child process, `DecodedStream` is one recording coming out of it.

Maps what happens to the child to the reasons of `errors.py`. Opens no audio file itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transcription_worker.decode.process import ChildDiedError, ChildProcess, ChildStalledError
from transcription_worker.decode.request import AudioInfo, DecodeRequest
from transcription_worker.decode.wire import Kind
from transcription_worker.errors import Reason, RecordingError

Block = NDArray[np.float32]
"""Shape [channels, n], -1..1, some seconds."""

INHERITED = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
"""All that a decoder gets to see of the worker's environment: the store's credentials are not among it."""

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""Idle thread pools count against the address space that the child may use."""

SLOWEST = 2.0
"""Seconds that may be waited for a second of sound, beside one stall. Decoding takes thousandths; a file made to come
in drops, or a node where nothing moves, is given up while its recording could still be listened to."""

MEMORY_LIMIT_BYTES = 1 << 30
"""Libraries and interpreter take 0.3 GB of it, what is decoded 0.1; an index of twelve hours of AAC another 0.1."""

WORN_OUT = frozenset({Reason.OUT_OF_MEMORY, Reason.INTERNAL})
"""After these the child may be in any state: the next recording gets a new one."""


class Decoder:
    """Decodes one recording at a time in a child process, which lives on from recording to recording.

    The child starts with the first recording, and again after it crashed, hung or was left in the middle of one. To be
    used by one thread at a time.

    Args:
        environment: the child's environment (default: the few variables of `INHERITED`).
        memory_limit_bytes: address space of the child; beyond it a recording is OutOfMemory.
        stall_seconds: a child that sends nothing for so long while it is waited for is killed (Timeout), and also one
            that was waited for so long in all and `SLOWEST` times the seconds that it has decoded.
    """

    def __init__(
        self,
        *,
        environment: Mapping[str, str] | None = None,
        memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
        stall_seconds: float = 60.0,
    ) -> None:
        if environment is None:
            environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        self._environment = {**environment, **ONE_THREAD}
        self._memory_limit_bytes = memory_limit_bytes
        self._stall_seconds = stall_seconds
        self._child: ChildProcess | None = None
        self._stream: DecodedStream | None = None

    def __enter__(self) -> Decoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def child_pid(self) -> int | None:
        """The running child, if there is one."""
        return self._child.pid if self._child is not None else None

    def decode(self, request: DecodeRequest) -> DecodedStream:
        """Start decoding; the stream before, if it is still open, is closed."""
        if self._stream is not None:
            self._stream.close()
        self._stream = DecodedStream(self, request)
        return self._stream

    def close(self) -> None:
        """End the child and wait for its end. A later `decode` starts a new one."""
        if self._stream is not None:
            self._stream.close()
        if self._child is not None:
            child, self._child = self._child, None
            child.end()

    def _ask(self, request: DecodeRequest) -> None:
        if self._child is not None and not self._child.alive:
            self._discard()
        if self._child is not None:
            try:
                self._child.send(Kind.DECODE, request.to_json())
                return
            except ChildDiedError:
                self._discard()
        try:
            self._child = ChildProcess(self._environment, self._memory_limit_bytes)
        except OSError as error:
            message = f"{request.title}: no decoding process could be started: {error.strerror}."
            raise RecordingError(Reason.DECODER_CRASHED, message) from None
        # A child that ends before it listens is found out by the first answer.
        with contextlib.suppress(ChildDiedError):
            self._child.send(Kind.DECODE, request.to_json())

    def _answer(self, title: str, patience: float) -> tuple[Kind, bytearray]:
        """The child's next word. `patience` is what the recording may take over the allowed stall, in seconds."""
        assert self._child is not None
        if patience < 0:
            self._discard()
            raise RecordingError(
                Reason.TIMEOUT,
                f"{title}: decoding it takes {SLOWEST:g} times as long as listening to it and was stopped; "
                "re-encode it, or give the worker more CPU.",
            )
        try:
            return self._child.receive(self._stall_seconds)
        except ChildDiedError as death:
            self._discard()
            raise RecordingError(Reason.DECODER_CRASHED, _crash_message(title, death.returncode)) from None
        except ChildStalledError:
            self._discard()
            raise RecordingError(
                Reason.TIMEOUT,
                f"{title}: the decoder made no progress for {self._stall_seconds:g} s and was stopped; "
                "check that the file plays, or re-encode it.",
            ) from None
        except BaseException:
            # Half a frame may have been read: nobody can go on with this conversation.
            self._discard()
            raise

    def _discard(self) -> None:
        if self._child is not None:
            child, self._child = self._child, None
            child.kill()


class DecodedStream:
    """One recording: iterate once for its blocks, float32 of shape [channels, n] at the requested rate.

    Leaving it early, by `close`, by the end of a `with` or by a `break`, costs the child and leaves the Decoder usable.
    `info` and the iteration raise RecordingError, after which the stream is over.
    """

    def __init__(self, decoder: Decoder, request: DecodeRequest) -> None:
        self._decoder = decoder
        self._title = request.title
        self._info: AudioInfo | None = None
        self._channels = 0
        self._seconds: float | None = None
        self._rate = request.target_rate
        self._patience = decoder._stall_seconds
        self._running = True
        decoder._ask(request)

    @property
    def info(self) -> AudioInfo:
        """What the file's header says; waits for it on first use."""
        if self._info is None:
            self._read_info()
        assert self._info is not None
        return self._info

    @property
    def seconds(self) -> float:
        """Decoded duration of the whole recording; known once the iteration has ended by itself."""
        if self._seconds is None:
            raise RuntimeError("the recording has not been read to its end")
        return self._seconds

    def __iter__(self) -> Iterator[Block]:
        try:
            self._read_info()
            while self._running:
                kind, body = self._receive()
                if kind is Kind.AUDIO:
                    block = np.frombuffer(body, dtype=np.float32).reshape(self._channels, -1)
                    self._patience += SLOWEST * block.shape[1] / self._rate
                    yield block
                elif kind is Kind.END:
                    self._seconds = float(json.loads(body)["seconds"])
                    self._running = False
        finally:
            self.close()

    def __enter__(self) -> DecodedStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Harmless after the end; before it, the rest of the recording is given up."""
        if self._running:
            self._running = False
            self._decoder._discard()

    def _read_info(self) -> None:
        if self._info is not None or not self._running:
            return
        _, body = self._receive()
        fields: dict[str, Any] = json.loads(body)
        self._info = AudioInfo(**fields["info"])
        self._channels = fields["channels"]

    def _receive(self) -> tuple[Kind, bytearray]:
        started = time.monotonic()
        try:
            kind, body = self._decoder._answer(self._title, self._patience)
        except BaseException:
            self._running = False
            raise
        self._patience -= time.monotonic() - started
        if kind is Kind.ERROR:
            self._running = False
            fields = json.loads(body)
            reason = Reason(fields["reason"])
            if reason in WORN_OUT:
                self._decoder._discard()
            raise RecordingError(reason, fields["message"])
        return kind, body


def _crash_message(title: str, returncode: int) -> str:
    if returncode >= 0:
        return f"{title}: the decoder ended without a word (exit code {returncode}); its standard error says why."
    name = signal.Signals(-returncode).name
    if name == "SIGKILL":
        return f"{title}: the decoder was killed (SIGKILL), as the kernel does when memory runs out."
    return f"{title}: the decoder crashed on it ({name}); re-encode the recording, the file is probably damaged."
