"""`transcription run`: a whole job on this machine, from the processes that the pods run: plan, work, report.

Composes and supervises only; what a job means stands in the entry points themselves.
"""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import IO, Any

from transcription_worker.display import Display, Totals
from transcription_worker.errors import ConfigurationError, ExitCode, RetryableError
from transcription_worker.job_context import JobContext
from transcription_worker.plan import Plan
from transcription_worker.progress import Snapshot
from transcription_worker.sweep import sweep

POLL_SECONDS = 0.2
KILL_AFTER_SECONDS = 10.0
"""What a worker that is not needed any more has for its drain."""
STOP_AFTER_SECONDS = 2.0
"""What a worker has after the second Ctrl-C."""


def start_context(context: JobContext) -> JobContext:
    """A context of its own for this run, after the model was found usable: no worker starts for a wrong path."""
    context.model.identity()
    metadata = context.job.metadata
    if metadata.uid:
        return context
    uid = uuid.uuid4().hex
    return JobContext(context.job.model_copy(update={"metadata": metadata.model_copy(update={"uid": uid})}))


@dataclass
class Worker:
    """One worker index and the process that holds it at the moment."""

    index: int
    process: subprocess.Popen[str]
    attempt: int = 1
    last: Snapshot = field(default_factory=Snapshot)
    earlier: Snapshot = field(default_factory=Snapshot)
    error: str = ""
    misconfigured: bool = False
    leave_by: float | None = None
    ended: bool = False


Events = queue.SimpleQueue[tuple[Worker, dict[str, Any] | None]]
"""What workers say, as it comes; None when one has ended."""


@dataclass(frozen=True)
class LocalRun:
    """What one `transcription run` starts: entry points of one job with one scratch and one cache."""

    context: JobContext
    scratch: Path
    cache: Path
    workers: int
    verbose: bool
    display: Display

    def execute(self) -> ExitCode:
        """Run the job to its end or until Ctrl-C; says how it went on the display."""
        plan = Plan.from_json(self._call("plan"))
        self.display.planned(plan)
        with _interrupts() as interrupts:
            code = self._work(plan, interrupts)
        if code is ExitCode.INTERRUPTED:
            return code
        summary = json.loads(self._call("report"))
        self.display.finished(summary)
        return self._verdict(summary)

    def _verdict(self, summary: dict[str, Any]) -> ExitCode:
        if summary["missing"]:
            self.display.say(
                f"{summary['missing']} recordings have no outcome because their workers were lost; run again to resume."
            )
            return ExitCode.FAILED
        policy = self.context.job.spec.failure_policy
        allowed = policy.allows(summary["failed"], summary["planned"])
        if not allowed:
            self.display.say(
                f"{summary['failed']} of {summary['planned']} recordings failed, more than "
                f"failurePolicy.maxFailedRecordings ({policy.max_failed_recordings}) allows."
            )
        return ExitCode.OK if allowed else ExitCode.FAILED

    # -- processes

    def _call(self, entry: str) -> bytes:
        """Run an entry point to its end and return its summary; its one sentence of failure is ours."""
        process = self._spawn(entry)
        try:
            output, log = process.communicate(self._manifest)
        finally:
            _end([process])
        lines = log.splitlines()
        message = lines.pop() if lines and process.returncode != ExitCode.OK else ""
        for line in lines:
            self.display.say(line)
        if process.returncode == ExitCode.OK:
            return output.encode()
        if process.returncode == ExitCode.CONFIGURATION:
            raise ConfigurationError(message)
        raise RetryableError(message or f"{entry} ended with exit code {process.returncode}.")

    def _start(self, index: int, events: Events) -> Worker:
        process = self._spawn("work", "--index", str(index), "--workers", str(self.workers), "--events")
        assert process.stdin
        with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
            stdin.write(self._manifest)
        worker = Worker(index, process)
        threading.Thread(target=_read_output, args=(worker, process, events), daemon=True).start()
        return worker

    @cached_property
    def _manifest(self) -> str:
        """Goes through standard input: an environment variable holds 128 KiB at most."""
        return json.dumps(self.context.job.to_manifest())

    def _spawn(self, entry: str, *arguments: str) -> subprocess.Popen[str]:
        places = ["--scratch", str(self.scratch), "--cache", str(self.cache)]
        verbosity = ["--verbose"] if self.verbose else []
        command = [sys.executable, "-m", "transcription_worker", entry, "--local", "-f", "-", *places, *verbosity]
        return subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # A group of its own: Ctrl-C reaches only this process, which passes it on once.
            start_new_session=True,
        )

    # -- supervision

    def _work(self, plan: Plan, interrupts: Interrupts) -> ExitCode:
        events: Events = queue.SimpleQueue()
        workers = [self._start(index, events) for index in range(self.workers)]
        code = ExitCode.OK
        try:
            with self.display.working(plan):
                while not all(worker.ended for worker in workers):
                    self._pass_on(interrupts, workers)
                    self._end_laggards(plan, interrupts, workers)
                    code = self._absorb(events, workers, code, interrupts)
                    self.display.update(_totals(plan, workers))
        finally:
            _end([worker.process for worker in workers])
            sweep(self.scratch)  # what a worker left that had to be killed
        self.display.worked(_totals(plan, workers))
        if code is ExitCode.CONFIGURATION:
            sentences = [worker.error for worker in workers if worker.misconfigured and worker.error]
            raise ConfigurationError(sentences[0] if sentences else "A worker could not start: its log is above.")
        return ExitCode.INTERRUPTED if interrupts.count else code

    def _absorb(
        self,
        events: Events,
        workers: list[Worker],
        code: ExitCode,
        interrupts: Interrupts,
    ) -> ExitCode:
        try:
            worker, event = events.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return code
        if event is None:
            return self._reap(worker, workers, code, interrupts, events)
        match event.pop("event"):
            case "failure":
                self.display.failure(event["key"], event["reason"], event["message"])
            case "progress":
                worker.last = Snapshot(**event)
            case "error":
                worker.error = event["message"]
            case "log":
                self.display.say(event["line"])
        return code

    def _reap(
        self,
        worker: Worker,
        workers: list[Worker],
        code: ExitCode,
        interrupts: Interrupts,
        events: Events,
    ) -> ExitCode:
        status = worker.process.wait()
        if status == ExitCode.CONFIGURATION:
            worker.ended = worker.misconfigured = True
            for other in workers:
                other.process.terminate()
            return ExitCode.CONFIGURATION
        told_to_leave = worker.leave_by is not None or interrupts.count or code is ExitCode.CONFIGURATION
        if status in (ExitCode.OK, ExitCode.DRAINED) or told_to_leave:
            worker.ended = True
            return code
        if worker.attempt >= self.context.job.spec.failure_policy.attempts_per_worker:
            self.display.say(
                f"worker {worker.index} is given up after {worker.attempt} attempts ({_how(status, worker)})."
            )
            worker.ended = True
            return ExitCode.FAILED
        self.display.say(f"worker {worker.index} ended ({_how(status, worker)}); a successor takes over.")
        successor = self._start(worker.index, events)
        successor.attempt = worker.attempt + 1
        successor.earlier = _sum([worker.earlier, worker.last])
        workers[workers.index(worker)] = successor
        return code

    def _end_laggards(self, plan: Plan, interrupts: Interrupts, workers: list[Worker]) -> None:
        """Whoever is not needed any more (a worker that ended well has seen every ledger), or was told to stop at once.

        A process that was stopped (SIGSTOP, a hung disk) does not hear SIGTERM.
        """
        all_done = plan.conditional_writes and any(w.process.poll() == ExitCode.OK for w in workers)
        for worker in workers:
            if worker.ended or not (all_done or interrupts.passed_on >= 2):
                continue
            if worker.leave_by is None:
                worker.leave_by = time.monotonic() + (KILL_AFTER_SECONDS if all_done else STOP_AFTER_SECONDS)
                if all_done:
                    worker.process.terminate()
            elif time.monotonic() > worker.leave_by:
                worker.process.kill()

    def _pass_on(self, interrupts: Interrupts, workers: list[Worker]) -> None:
        while interrupts.passed_on < min(interrupts.count, 2):
            interrupts.passed_on += 1
            first = interrupts.passed_on == 1
            self.display.say(
                "Draining: the batch in flight is finished and committed. Ctrl-C again stops at once."
                if first
                else "Stopping at once."
            )
            for worker in workers:
                if not worker.ended:
                    worker.process.send_signal(signal.SIGTERM)


@dataclass
class Interrupts:
    """How often Ctrl-C (or SIGTERM) came, and how many of them the workers know of."""

    count: int = 0
    passed_on: int = 0


@contextmanager
def _interrupts() -> Iterator[Interrupts]:
    interrupts = Interrupts()

    def note(signum: int, frame: FrameType | None) -> None:
        interrupts.count += 1

    before = [(s, signal.signal(s, note)) for s in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield interrupts
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _read_output(worker: Worker, process: subprocess.Popen[str], events: Events) -> None:
    """Hand on what a worker says until it ends: events on its standard output, log lines on standard error."""
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


def _end(processes: list[subprocess.Popen[str]]) -> None:
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


def _how(status: int, worker: Worker) -> str:
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return worker.error.removesuffix(".") or f"exit code {status}"


def _sum(snapshots: list[Snapshot]) -> Snapshot:
    return Snapshot(**{f.name: sum(getattr(s, f.name) for s in snapshots) for f in fields(Snapshot)})


def _totals(plan: Plan, workers: list[Worker]) -> Totals:
    return Totals(plan, _sum([s for w in workers for s in (w.earlier, w.last)]))
