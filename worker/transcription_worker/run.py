"""`transcription run`: a whole job on this machine, from the processes that the pods run: plan, work, report.

Composes and supervises only; what a job means stands in the entry points themselves.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any

from transcription_worker.display import Display, Totals
from transcription_worker.errors import ConfigurationError, ExitCode, RetryableError
from transcription_worker.job_context import JobContext
from transcription_worker.local_worker import (
    KILL_AFTER_SECONDS,
    Events,
    Worker,
    end_processes,
    listen_to,
    pause_before_successor,
)
from transcription_worker.plan import Plan
from transcription_worker.progress import Snapshot
from transcription_worker.resources import thread_environment
from transcription_worker.sweep import sweep

POLL_SECONDS = 0.2
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


@dataclass(frozen=True)
class LocalRun:
    """What one `transcription run` starts: entry points of one job with one scratch and one cache.

    `clock` gives monotonic seconds.
    """

    context: JobContext
    scratch: Path
    cache: Path
    workers: int
    verbose: bool
    display: Display
    clock: Callable[[], float] = time.monotonic

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
                f"spec.failurePolicy.maxFailedRecordings ({policy.max_failed_recordings}) allows."
            )
        return ExitCode.OK if allowed else ExitCode.FAILED

    # -- processes

    def _call(self, entry: str) -> bytes:
        """Run an entry point to its end and return its summary; its one sentence of failure is ours."""
        process = self._spawn(entry)
        try:
            output, log = process.communicate(self._manifest)
        finally:
            end_processes([process])
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
        listen_to(worker, events)
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
            env={**os.environ, **thread_environment(self.workers)},
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
                    self._start_successors(events, workers)
                    code = self._absorb(events, workers, code, interrupts)
                    self.display.update(_totals(plan, workers))
        finally:
            end_processes([worker.process for worker in workers])
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
            return self._reap(worker, workers, code, interrupts)
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
    ) -> ExitCode:
        status = worker.process.wait()
        if status == ExitCode.CONFIGURATION:
            worker.ended = worker.misconfigured = True
            for other in workers:
                _tell_to_leave(other)
            return ExitCode.CONFIGURATION
        told_to_leave = worker.leave_by is not None or interrupts.count or code is ExitCode.CONFIGURATION
        if status in (ExitCode.OK, ExitCode.DRAINED) or told_to_leave:
            worker.ended = True
            return code
        if worker.attempt >= self.context.job.spec.failure_policy.attempts_per_worker:
            self.display.say(
                f"worker {worker.index} is given up after {worker.attempt} attempts ({worker.how_it_ended(status)})."
            )
            worker.ended = True
            return ExitCode.FAILED
        pause = pause_before_successor(status, worker.attempt)
        when = f" in {pause:.0f} s" if pause else ""
        self.display.say(f"worker {worker.index} ended ({worker.how_it_ended(status)}); a successor takes over{when}.")
        worker.restart_at = self.clock() + pause
        return code

    def _start_successors(self, events: Events, workers: list[Worker]) -> None:
        for place, worker in enumerate(workers):
            if worker.ended or worker.restart_at is None or self.clock() < worker.restart_at:
                continue
            workers[place] = successor = self._start(worker.index, events)
            successor.attempt = worker.attempt + 1
            successor.earlier = _sum([worker.earlier, worker.last])

    def _end_laggards(self, plan: Plan, interrupts: Interrupts, workers: list[Worker]) -> None:
        """Whoever is not needed any more (a worker that ended well has seen every ledger), or was told to stop at once.

        A process that was stopped (SIGSTOP, a hung disk) does not hear SIGTERM.
        """
        all_done = plan.conditional_writes and any(w.process.poll() == ExitCode.OK for w in workers)
        for worker in workers:
            if worker.ended or not (all_done or interrupts.passed_on >= 2):
                continue
            if worker.leave_by is None:
                worker.leave_by = self.clock() + (KILL_AFTER_SECONDS if all_done else STOP_AFTER_SECONDS)
                if all_done:
                    _tell_to_leave(worker)
            elif self.clock() > worker.leave_by:
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
                    _tell_to_leave(worker)


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


def _tell_to_leave(worker: Worker) -> None:
    """Drain it, or let it have no successor."""
    if worker.restart_at is None:
        worker.process.terminate()
    else:
        worker.ended = True


def _sum(snapshots: list[Snapshot]) -> Snapshot:
    return Snapshot(**{f.name: sum(getattr(s, f.name) for s in snapshots) for f in fields(Snapshot)})


def _totals(plan: Plan, workers: list[Worker]) -> Totals:
    return Totals(plan, _sum([s for w in workers for s in (w.earlier, w.last)]))
