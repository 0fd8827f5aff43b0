"""Processes of a job as the driver starts, kills and buries them: workers out of the zygote, the rest as they are.

Whoever was started is known by a descriptor of the process (pidfd_open(2)), so that no signal ever reaches another.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.fates import Fate
from tests.chaos.zygote import ONE_THREAD
from tests.jobs import command_line, descendants

CHILD = re.compile(r"transcription_worker\.(decode|store)\.child")
SCRIPT = Path(sys.executable).with_name("transcription-worker")
START_SECONDS = 300.0
"""For the toolkit's import, on a machine that has other things to do."""


@dataclass(eq=False)
class Life:
    """One process from its start to its end. `status` as in subprocess: negative for a signal, None while it lives."""

    role: str
    fate: Fate
    pid: int
    log: Path
    begun: float = field(default_factory=time.monotonic)
    status: int | None = None
    seconds: float = 0.0
    peak_bytes: int = 0
    asked: list[str] = field(default_factory=list)
    """What the driver did to it."""
    _descriptor: int = -1

    def __post_init__(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended, and its parent has buried it
            self._descriptor = os.pidfd_open(self.pid)

    def send(self, number: signal.Signals) -> bool:
        """False where it has ended already."""
        try:
            signal.pidfd_send_signal(self._descriptor, number)
        except (ProcessLookupError, OSError):
            return False
        self.asked.append(number.name)
        return True

    @property
    def stands_still(self) -> bool:
        """Whether it was stopped by a signal (proc(5))."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return False
        return self.status is None and stat.rpartition(")")[2].split()[0] == "T"

    def children(self) -> list[int]:
        """Its decoding processes, and those that make its requests."""
        return [pid for pid in descendants(self.pid) if CHILD.search(command_line(pid))]

    def end(self, status: int, seconds: float, peak_bytes: int) -> None:
        self.status, self.seconds, self.peak_bytes = status, seconds, peak_bytes
        if self._descriptor != -1:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def age(self) -> float:
        return time.monotonic() - self.begun


class Zygote:
    """The far end of `zygote.py`. Forks workers; what it says is taken up by `poll`.

    Args:
        environment: of the process itself, where its lives need what only a program's start can give them.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        temporary = folder / "tmp"
        temporary.mkdir(parents=True)
        self.temporary = temporary
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.zygote"],
                env={
                    **os.environ,
                    **(environment or {}),
                    **ONE_THREAD,
                    "TMPDIR": str(temporary),
                    "MPLCONFIGDIR": str(temporary / "mpl"),
                },
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self._log = folder / "log"
        self._said: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._lives: dict[int, Life] = {}
        self._number = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def await_ready(self) -> None:
        """Until the toolkit is imported."""
        self._next(START_SECONDS)

    def fork(self, role: str, fate: Fate, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Life:
        """A new life of `transcription-worker <arguments>`."""
        self._number += 1
        asked = {"life": self._number, "arguments": list(arguments), "environment": dict(environment), "log": str(log)}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()
        while (event := self._next(60)).get("life") != self._number or "pid" not in event:
            self._take_up(event)
        life = self._lives[self._number] = Life(role, fate, event["pid"], log)
        return life

    @property
    def children(self) -> list[int]:
        """What it has forked, and what that has started."""
        return descendants(self._process.pid)

    def poll(self, seconds: float) -> None:
        """Take up what has ended; waits so long for the first news."""
        with contextlib.suppress(queue.Empty):
            self._take_up(self._next(seconds))
            while True:
                self._take_up(self._next(0))

    def close(self) -> None:
        """End it, and with it every life that is left."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _next(self, seconds: float) -> dict[str, Any]:
        event = self._said.get(timeout=seconds) if seconds else self._said.get_nowait()
        if event is None:
            raise RuntimeError(f"The zygote ended: {self._log.read_text()[-2000:]}")
        return event

    def _take_up(self, event: dict[str, Any]) -> None:
        if "status" in event:
            self._lives.pop(event["life"]).end(event["status"], event["seconds"], event["peak_bytes"])

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(json.loads(line))
        self._said.put(None)


@contextlib.contextmanager
def zygote(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Zygote]:
    one = Zygote(folder, environment)
    try:
        one.await_ready()
        yield one
    finally:
        one.close()


class Command(Life):
    """A life of its own program, buried by this process."""

    @classmethod
    def start(cls, role: str, fate: Fate, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Command:
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        return cls(role, fate, process.pid, log)

    def poll(self) -> bool:
        """Whether it has ended."""
        if self.status is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.end(os.waitstatus_to_exitcode(status), self.age, usage.ru_maxrss * 1024)
        return self.status is not None
