"""The operator with a tap on its writes to the API server, and with a death at each of them if it is asked for.

    python -m tests.e2e.tapped_operator FILE [--die-at N]

Each write, and each read that fails, is appended to FILE as one line of JSON. With `--die-at N` the operator is started
again and again; every life ends by SIGKILL at its N-th write, in turn right before the API server gets it and right
after it has answered. So of two lives one leaves the write undone and the next leaves it done, and nobody ever hears of
either. Lives are forked from one process that has everything imported: a restart costs a tenth of a second.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kopf  # noqa: F401  imported before the first life, for all of them

from transcription_operator import cli, handlers, operation  # noqa: F401
from transcription_operator.kube import Body, Kube, KubeError

_PR_SET_PDEATHSIG = 1


class Tap:
    """Replaces `Kube._call`, through which every request goes."""

    def __init__(self, file: Path, life: int = 0, die_at: int = 0) -> None:
        self._file, self._life, self._die_at = file, life, die_at
        self._before = life % 2 == 0
        self._count = 0
        self._call = Kube._call

    def install(self) -> None:
        tap = self

        def call(kube: Kube, verb: str, path: str, body: Body | None = None, *rest: Any, **named: Any) -> Body:
            def go_on() -> Body:
                return tap._call(kube, verb, path, body, *rest, **named)

            return tap.read(go_on, path) if verb == "GET" else tap.write(go_on, verb, path, body)

        Kube._call = call  # type: ignore[method-assign, assignment]

    def read(self, go_on: Callable[[], Body], path: str) -> Body:
        try:
            return go_on()
        except KubeError as error:
            self._note("GET", path, None, type(error).__name__)
            raise

    def write(self, go_on: Callable[[], Body], verb: str, path: str, body: Body | None) -> Body:
        self._count += 1
        last = self._count == self._die_at
        if last and self._before:
            self._note(verb, path, body, "died before")
            self._die()
        try:
            answer = go_on()
        except KubeError as error:
            self._note(verb, path, body, type(error).__name__)
            raise
        if last:
            self._note(verb, path, body, "died after")
            self._die()
        self._note(verb, path, body, "done")
        return answer

    def _note(self, verb: str, path: str, body: Body | None, result: str) -> None:
        line = {"life": self._life, "verb": verb, "path": path, "body": body, "result": result}
        with self._file.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--die-at", type=int, default=0)
    asked = parser.parse_args()
    if not asked.die_at:
        Tap(asked.file).install()
        return cli.main([])
    life = 0
    while (status := _live(asked.file, life, asked.die_at)) == -signal.SIGKILL:
        life += 1
    return status


def _live(file: Path, life: int, die_at: int) -> int:
    """One life, and how it ended. Its parent's signals are its own, and it does not outlive its parent."""
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        Tap(file, life, die_at).install()
        os._exit(cli.main([]))
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(pid, number))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
