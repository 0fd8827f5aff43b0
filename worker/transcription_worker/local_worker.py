"""One worker process of `transcription run`: what it says, how it ended, when its successor starts.

Who starts and ends workers is `run.py`.
"""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import threading
from dataclasses import dataclass, field
from typing import IO, Any

from transcription_worker.errors import ExitCode
from transcription_worker.progress import Snapshot

KILL_AFTER_SECONDS = 10.0
"""What a worker that is not needed any more has for its drain."""
FIRST_PAUSE_SECONDS = 5.0
"""Before the successor of a worker whose store was away; doubled for each further one, as a Job's back-off is."""
LONGEST_PAUSE_SECONDS = 60.0


@dataclass
class Worker:
    """One worker index and the process that holds it at the moment, or held it until `restart_at`."""

    index: int
    process: subprocess.Popen[str]
    attempt: int = 1
    last: Snapshot = field(default_factory=Snapshot)
    earlier: Snapshot = field(default_factory=Snapshot)
    error: str = ""
    misconfigured: bool = False
    leave_by: float | None = None
    restart_at: float | None = None
    ended: bool = False

    def how_it_ended(self, status: int) -> str:
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        return self.error.removesuffix(".") or f"exit code {status}"


Events = queue.SimpleQueue[tuple[Worker, dict[str, Any] | None]]
"""What workers say, as it comes; None when one has ended."""


def pause_before_successor(status: int, attempt: int) -> float:
    """Seconds to wait after the `attempt`-th process ended: a store that is away needs time, a crash needs none."""
    if status != ExitCode.RETRYABLE:
        return 0.0
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * float(2 ** (attempt - 1)))


def listen_to(worker: Worker, events: Events) -> None:
    """Hand on what a worker says until it ends: events on its standard output, log lines on standard error."""
    threading.Thread(target=_read_output, args=(worker, worker.process, events), daemon=True).start()


def end_processes(processes: list[subprocess.Popen[str]]) -> None:
    """Leave no process behind, whatever happened."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.terminate()
    for process in running:
        try:
            process.wait(KILL_AFTER_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _read_output(worker: Worker, process: subprocess.Popen[str], events: Events) -> None:
    assert process.stdout and process.stderr
    logs = threading.Thread(target=_read_logs, args=(worker, process.stderr, events), daemon=True)
    logs.start()
    with process.stdout as lines:
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue  # a line cut off by a kill, or a library's print
            if isinstance(event, dict) and "event" in event:
                events.put((worker, event))
    logs.join()
    events.put((worker, None))


def _read_logs(worker: Worker, lines: IO[str], events: Events) -> None:
    with lines:
        for line in lines:
            events.put((worker, {"event": "log", "line": line.rstrip()}))
