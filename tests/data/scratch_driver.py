"""A process that uses the real Scratch, to be killed: `python scratch_driver.py COMMAND ROOT ARGUMENT [USER]`.

It prints one line of JSON when it stands where the test wants it, then waits for a line on standard input.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from transcription_worker.errors import ConfigurationError, RecordingError
from transcription_worker.scratch import Scratch
from transcription_worker.scratch_space import no_space_fails_recording
from transcription_worker.sweep import sweep

AUDIO = b"audio" * 1000


def tell(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def wait() -> None:
    sys.stdin.readline()


def hold(root: Path, _: str) -> None:
    """Normal work, with a file in hand until the test says go."""
    with Scratch(root) as scratch, scratch.file("wav") as path:
        path.write_bytes(AUDIO)
        tell(path=str(path), pid=os.getpid())
        wait()
        tell(kept=path.read_bytes() == AUDIO)


def fail(root: Path, stage: str) -> None:
    """An error while the file is written, or while it is used."""
    with Scratch(root) as scratch, scratch.file("wav") as path, path.open("wb") as file:
        file.write(AUDIO)
        file.flush()
        if stage == "writing":
            raise RuntimeError("the encoder broke")
        file.close()
        path.read_bytes()
        raise RuntimeError("the model broke")


def drain(root: Path, _: str) -> None:
    """SIGTERM ends the work in an orderly way, as the worker's drain does."""

    def stop(signum: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(143)

    signal.signal(signal.SIGTERM, stop)
    hold(root, "")


def exit_without_closing(root: Path, _: str) -> None:
    scratch = Scratch(root)
    path = scratch.path / "left-by-a-library.bin"
    path.write_bytes(AUDIO)
    tell(path=str(path))
    sys.exit(3)


def spawn(root: Path, how: str) -> None:
    """Leave a child that outlives this process; `path` tells the directory that must be swept all the same."""
    scratch = Scratch(root)
    (scratch.path / "audio.wav").write_bytes(AUDIO)
    if how == "fork":
        forked, started = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(started)
            wait()
            os._exit(0)
        os.close(started)
        os.read(forked, 1)  # nothing comes: the child has closed its end, so it is past the fork
    else:
        child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.readline()"]).pid
    tell(path=str(scratch.path), child=child)
    os.kill(os.getpid(), signal.SIGKILL)


def fork_and_end(root: Path, _: str) -> None:
    """A forked child ends in an orderly way while the parent works on: the parent's file stays."""
    with Scratch(root) as scratch, scratch.file("wav") as path:
        path.write_bytes(AUDIO)
        child = os.fork()
        if child == 0:
            scratch.close()
            sys.exit(0)
        os.waitpid(child, 0)
        tell(kept=path.read_bytes() == AUDIO, live=Scratch(root).sweep().live)


def loop(root: Path, argument: str) -> None:
    """Make, use and remove files, and sweep, in random order until the given number of rounds is over."""
    seed, rounds = (int(part) for part in argument.split(","))
    chance = random.Random(seed)
    tell(ready=True)
    lost = 0
    for _ in range(rounds):
        with Scratch(root) as scratch:
            for _ in range(chance.randrange(1, 6)):
                with scratch.file(chance.choice(["wav", "flac"])) as path:
                    path.write_bytes(AUDIO)
                    if chance.random() < 0.5:
                        scratch.sweep()
                    time.sleep(chance.random() * 0.002)
                    lost += not path.exists() or path.read_bytes() != AUDIO
            lost += scratch.failed_removals
    tell(lost=lost)


def fill(root: Path, argument: str) -> None:
    """Write until the disk is full, then see whether the recording fails as it should and its space comes back."""
    with Scratch(root, min_free_bytes=int(argument)) as scratch:
        before = scratch.has_room()
        full = False
        try:
            with no_space_fails_recording("calls/a.wav"), scratch.file("wav") as path, path.open("wb") as file:
                while True:
                    file.write(AUDIO)
                    full = full or not scratch.has_room()
        except RecordingError as error:
            tell(before=before, noticed=full, reason=error.reason, retryable=error.retryable, after=scratch.has_room())


def report_failures(root: Path, _: str) -> None:
    """Tell the directory, wait for the test to make something there that cannot be removed, and end."""
    with Scratch(root) as scratch:
        with scratch.file("wav") as path:
            path.write_bytes(AUDIO)
            tell(path=str(path))
            wait()
        tell(failed=scratch.failed_removals)
    tell(failed=scratch.failed_removals)


def close_permissions(root: Path, _: str) -> None:
    """Leave directories in scratch that their own owner may not enter."""
    with Scratch(root) as scratch:
        inner = scratch.path / "unpacked" / "closed" / "inner"
        inner.mkdir(parents=True)
        (inner / "weights").touch()
        for directory, mode in ((inner, 0), (inner.parent, 0o500), (inner.parent.parent, 0o400)):
            directory.chmod(mode)
    tell(failed=scratch.failed_removals)


def only_sweep(root: Path, _: str) -> None:
    result = sweep(root)
    tell(failed=result.failed, removed=result.removed)


def refused(root: Path, _: str) -> None:
    try:
        Scratch(root)
    except ConfigurationError as error:
        tell(sentence=str(error))


def become(user: int) -> None:
    """Another user from here on: after the imports, for the checkout may be closed to that user."""
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    # Since it changed its user, /proc/self belongs to root; a process that starts as that user has its own.
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


PR_SET_DUMPABLE = 4

COMMANDS = {
    function.__name__: function
    for function in (
        *(hold, fail, drain, exit_without_closing, spawn, fork_and_end, loop, fill, report_failures),
        *(close_permissions, only_sweep, refused),
    )
}

if __name__ == "__main__":
    if len(sys.argv) > 4:
        become(int(sys.argv[4]))
    COMMANDS[sys.argv[1]](Path(sys.argv[2]), sys.argv[3])
