"""The decoding process: `python -m transcription_worker.decode.child <parent pid> <memory limit in bytes>`.

Takes DECODE frames on standard input, answers on standard output (see `wire.py`), one recording after the other, and
ends when standard input does. How a file is decoded stands in `recording.py`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from queue import SimpleQueue
from typing import IO

from transcription_worker.decode.confine import confine
from transcription_worker.decode.request import DecodeRequest
from transcription_worker.decode.wire import Kind, read_frame, write_frame
from transcription_worker.errors import Reason, RecordingError


def main() -> None:
    parent, memory_limit_bytes = map(int, sys.argv[1:])
    confine(parent, memory_limit_bytes)
    answers = _claim_standard_output()
    # Imported under the limits, and with standard error still there to say what cannot be imported.
    from transcription_worker.decode import recording  # noqa: F401

    _silence(2)
    for request in _requests():
        serve(request, answers)


def serve(request: DecodeRequest, answers: IO[bytes]) -> None:
    """Decode one recording; whatever Python can catch becomes one ERROR frame."""
    try:
        _stream(request, answers)
    except RecordingError as error:
        _refuse(answers, error.reason, error.message)
    except BrokenPipeError:
        os._exit(0)
    except MemoryError:
        _refuse(
            answers,
            Reason.OUT_OF_MEMORY,
            f"{request.title} needs more memory to decode than the decoder may use; "
            "re-encode it, for instance as 16-bit WAV or FLAC with a common sample rate.",
        )
    except Exception as error:
        _refuse(answers, Reason.INTERNAL, f"{request.title}: the decoder failed ({type(error).__name__}: {error}).")


def _stream(request: DecodeRequest, answers: IO[bytes]) -> None:
    from transcription_worker.decode.recording import Recording

    with Recording(request) as opened:
        described = {"info": asdict(opened.info), "channels": opened.channels}
        write_frame(answers, Kind.INFO, json.dumps(described).encode())
        for block in opened:
            write_frame(answers, Kind.AUDIO, block.reshape(-1).view("u1").data)
        write_frame(answers, Kind.END, json.dumps({"seconds": opened.seconds}).encode())


def _refuse(answers: IO[bytes], reason: Reason, message: str) -> None:
    write_frame(answers, Kind.ERROR, json.dumps({"reason": reason, "message": message}).encode())


def _requests() -> Iterator[DecodeRequest]:
    """Requests as they come. A thread reads them, so that the parent's end is noticed in the middle of a decode."""
    queue: SimpleQueue[DecodeRequest] = SimpleQueue()

    def read() -> None:
        while (frame := read_frame(sys.stdin.buffer)) is not None:
            queue.put(DecodeRequest.from_json(frame[1]))
        os._exit(0)

    threading.Thread(target=read, name="requests", daemon=True).start()
    while True:
        yield queue.get()


def _claim_standard_output() -> IO[bytes]:
    """The pipe to the parent, on a descriptor that no native library prints to."""
    answers = os.fdopen(os.dup(1), "wb")
    _silence(1)
    return answers


def _silence(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


if __name__ == "__main__":
    main()
