"""Decoding of hostile inputs in warm child processes, as the worker keeps them, and what may not come of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.chaos.fuzz_cases import Case
from transcription_worker.decode import Decoder, DecodeRequest
from transcription_worker.errors import Reason, RecordingError
from transcription_worker.scratch import Scratch

RATE = 16_000
MAX_RECORDING_SECONDS = 3600.0
DECODED = "Decoded"
LONGEST_SECONDS = 30.0
"""Wall time of one input beside that of its sound; two orders of magnitude over what is seen."""
SECONDS_PER_DECODED_SECOND = 0.1
MAX_CHILD_BYTES = 1 << 30
MAX_MESSAGE = 600

EXPECTED = frozenset(
    {
        Reason.EMPTY,
        Reason.UNSUPPORTED_FORMAT,
        Reason.CORRUPT,
        Reason.TRUNCATED,
        Reason.TOO_LONG,
        Reason.OUT_OF_MEMORY,
        Reason.DECODER_CRASHED,
        Reason.TIMEOUT,
    }
)
"""What a file can be guilty of. Internal is not among them: that is a fault of ours."""

CHILD_ONLY = frozenset({str(Reason.OUT_OF_MEMORY), str(Reason.DECODER_CRASHED), str(Reason.TIMEOUT)})
"""What depends on the machine's mood as well as on the file."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one input: `outcome` is `Decoded` or a reason; `faults` what should not have been."""

    number: int
    origin: str
    outcome: str
    message: str
    seconds: float
    wall: float
    child_bytes: int
    faults: tuple[str, ...]


def decode_all(inputs: Iterable[Case], scratch: Scratch, threads: int) -> Iterator[tuple[Case, Verdict]]:
    """Decode everything on `threads` decoders; in no particular order."""
    source, lock = iter(inputs), threading.Lock()
    found: list[tuple[Case, Verdict]] = []

    def work() -> None:
        with Decoder() as decoder:
            while True:
                with lock:
                    case = next(source, None)
                if case is None:
                    return
                verdict = judge(decoder, case, scratch)
                with lock:
                    found.append((case, verdict))

    with ThreadPoolExecutor(threads, "fuzz") as pool:
        pending = [pool.submit(work) for _ in range(threads)]
        while pending:
            pending = [future for future in pending if not future.done() or future.result()]
            time.sleep(0.05)
            with lock:
                ready, found[:] = list(found), []
            yield from ready


def judge(decoder: Decoder, case: Case, scratch: Scratch) -> Verdict:
    """Decode one input to its end."""
    faults: list[str] = []
    outcome, message, seconds = DECODED, "", 0.0
    child_bytes = 0
    started = time.monotonic()
    with scratch.file("audio") as path:
        path.write_bytes(case.body)
        try:
            stream = decoder.decode(DecodeRequest(path, "mix", RATE, MAX_RECORDING_SECONDS, case.name))
            for block in stream:
                seconds += block.shape[1] / RATE
                if not np.isfinite(block).all() or np.abs(block).max(initial=0.0) > 1.0:
                    faults.append("samples that no model takes")
            child_bytes = peak_bytes(decoder.child_pid)
            if abs(stream.seconds - seconds) > 0.01:
                faults.append(f"{seconds:.3f} s came, {stream.seconds:.3f} s were reported")
        except RecordingError as error:
            outcome, message = str(error.reason), error.message
            child_bytes = peak_bytes(decoder.child_pid)
            faults += wrong_words(error.message, case.name)
            if error.reason not in EXPECTED:
                faults.append(f"{error.reason}: {error.message}")
        except Exception as error:
            outcome = type(error).__name__
            faults.append(f"the worker's own thread: {error!r}")
    wall = time.monotonic() - started
    if case.whole and outcome != DECODED:
        faults.append(f"a sound file was refused: {message}")
    if wall > LONGEST_SECONDS + SECONDS_PER_DECODED_SECOND * seconds:
        faults.append(f"{wall:.1f} s for {seconds:.1f} s of sound")
    if child_bytes > MAX_CHILD_BYTES:
        faults.append(f"{child_bytes >> 20} MiB of memory")
    return Verdict(case.number, case.origin, outcome, message, seconds, wall, child_bytes, tuple(dict.fromkeys(faults)))


def wrong_words(message: str, name: str) -> list[str]:
    """What keeps a message from being one sentence about the recording."""
    faults = []
    if not message.isprintable():
        faults.append(f"a message with control characters: {message!r}")
    if len(message) > MAX_MESSAGE:
        faults.append(f"a message of {len(message)} characters")
    if name not in message or not message.endswith("."):
        faults.append(f"no sentence about {name}: {message}")
    return faults


def peak_bytes(pid: int | None) -> int:
    """The most memory that a running process has had resident; 0 where it is gone."""
    if pid is None:
        return 0
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM")), 0)
