"""A process that has imported torch and NeMo and forks one child per life of a worker: `python -m tests.chaos.zygote`.

To import the toolkit costs a worker more CPU time than all the work of these tests. The child of a fork has it, and
then runs the worker's real entry point from its first line. Why the fork is sound:

* The zygote has one thread when it forks, so no lock can be held by a thread that the child lacks. It asks the kernel
  before each fork and refuses otherwise. OpenBLAS, OpenMP and MKL are told to start none; so is the one library that
  starts a thread while it is imported (jemalloc, in pyarrow).
* No parallel region of OpenMP has run, so the child's runtime makes its own threads (libgomp cannot be used after a
  fork of a process that has a pool). No tensor is made, no model loaded, no GPU touched, no S3 client made.
* Of the project only the API's models are imported and what imports NeMo: they open nothing. In particular the fault
  points are not: the child imports them with its own environment, and arms what it finds there.
* What libraries keep per process is renewed: tempfile's directory, handlers of the log, numbers at random (by CPython).

Says on standard output, a line of JSON each, `ready`, then the `pid` of each life that standard input asks for, and its
`status` (wait(2)), `seconds` and `peak_bytes` when it has ended. At the end of standard input all children are killed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
"""What the zygote's environment must hold: these are read when the libraries are loaded."""


@dataclass(frozen=True)
class _Asked:
    """One life: `arguments` of transcription-worker, its whole `environment`, and the file its log goes to."""

    life: int
    arguments: list[str]
    environment: dict[str, str]
    log: str


class _Server:
    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._selector.register(0, selectors.EVENT_READ, None)
        self._begun: dict[int, tuple[int, float, int]] = {}
        self._rest = b""

    def serve(self) -> _Asked | None:
        """In the zygote None at the end of its input; in each child what it was forked for."""
        _say({"ready": os.getpid()})
        while True:
            for key, _ in self._selector.select():
                if key.data is not None:
                    self._reap(key.data)
                    continue
                received = os.read(0, 1 << 16)
                if not received:
                    self._kill_all()
                    return None
                *lines, self._rest = (self._rest + received).split(b"\n")
                for line in lines:
                    asked = _Asked(**json.loads(line))
                    if self._fork(asked) == 0:
                        return asked

    def _fork(self, asked: _Asked) -> int:
        _refuse_threads()
        pid = os.fork()
        if pid == 0:
            self._selector.close()
            for _, _, descriptor in self._begun.values():
                os.close(descriptor)
            return 0
        watched = os.pidfd_open(pid)
        self._begun[pid] = (asked.life, time.monotonic(), watched)
        self._selector.register(watched, selectors.EVENT_READ, pid)
        _say({"life": asked.life, "pid": pid})
        return pid

    def _reap(self, pid: int) -> None:
        _, status, usage = os.wait4(pid, 0)
        life, begun, watched = self._begun.pop(pid)
        self._selector.unregister(watched)
        os.close(watched)
        ended = {"status": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - begun}
        _say({"life": life, **ended, "peak_bytes": usage.ru_maxrss * 1024})

    def _kill_all(self) -> None:
        for pid in self._begun:
            os.kill(pid, signal.SIGKILL)
        for pid in self._begun:
            os.waitpid(pid, 0)


def _say(event: dict[str, Any]) -> None:
    os.write(1, json.dumps(event).encode() + b"\n")


def _refuse_threads() -> None:
    threads = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    if len(threads) != 1:
        raise SystemExit(
            f"The zygote has {len(threads)} threads ({', '.join(threads)}): a fork of it would be unsound."
        )


def _import_toolkit() -> None:
    wrong = [name for name, value in ONE_THREAD.items() if os.environ.get(name) != value]
    if wrong:
        raise SystemExit(f"The zygote needs {', '.join(wrong)} as ONE_THREAD has it.")
    import boto3  # noqa: F401
    import torch  # noqa: F401

    import transcription_api.load  # noqa: F401
    import transcription_worker.engines.nemo_load  # noqa: F401

    if "transcription_worker.fault_points" in sys.modules:
        raise SystemExit("The zygote has imported the fault points: its children could not arm their own.")


def _live(asked: _Asked) -> NoReturn:
    """Be a worker: what a fresh interpreter would have, and its entry point."""
    log = os.open(asked.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor, source in ((0, null), (1, null), (2, log)):
        os.dup2(source, descriptor)
    os.close(null)
    os.close(log)
    os.environ.clear()
    os.environ.update(asked.environment)
    sys.argv = ["transcription-worker", *asked.arguments]
    tempfile.tempdir = None
    logging.getLogger().handlers.clear()

    from transcription_worker.parent import die_with_parent

    die_with_parent(signal.SIGKILL)

    from transcription_worker.cli import worker_main

    raise SystemExit(worker_main())


def main() -> None:
    with contextlib.redirect_stdout(sys.stderr):
        _import_toolkit()
    asked = _Server().serve()
    if asked is not None:
        _live(asked)


if __name__ == "__main__":
    main()
