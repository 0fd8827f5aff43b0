"""Named points of the worker's way at which a test can end or interrupt it: between any two durable steps.

For tests only. Unless `_TRANSCRIPTION_FAULT_AT` was set when this module was imported, `reach` is a function that does
nothing, and nothing reads the variable again. It holds `<point>:<passing>[=<signal>]`, several divided by commas:
`commit.before:3` ends the process by SIGKILL when it passes that point for the third time, `claim.created:1=SIGTERM`
drains it there. A TranscriptionJob cannot set it by accident: no field of a job leads to it and the operator never
writes it. Whoever writes this very name into `workers.template.spec.containers[].env` kills only pods of their own.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum, unique

VARIABLE = "_TRANSCRIPTION_FAULT_AT"


@unique
class Point(StrEnum):
    """Every point, in the order of a recording's way. What has happened when it is reached stands behind it."""

    # Scratch, in every process.
    LEASE_CREATED = "lease.created"  # not locked yet: a sweeper may take it for an orphan's
    LEASE_LOCKED = "lease.locked"
    SCRATCH_MADE = "scratch.made"
    ORPHAN_TAKEN = "orphan.taken"  # a dead owner's lease is locked by the sweeper
    TRASH_RENAMED = "trash.renamed"  # a tree has the name under which it is emptied
    ORPHAN_REMOVED = "orphan.removed"  # its directory is gone, its lease is there
    SCRATCH_CLOSING = "scratch.closing"
    SCRATCH_REMOVED = "scratch.removed"  # the own directory is gone, the lease is there

    # Planning.
    PROBE_WRITTEN = "probe.written"
    PLAN_LISTED = "plan.listed"
    PLAN_SHARD_WRITTEN = "plan.shard-written"
    PLAN_BEFORE = "plan.before"  # every shard is written
    PLAN_WRITTEN = "plan.written"

    # Who does what.
    CLAIM_BEFORE = "claim.before"
    CLAIM_CREATED = "claim.created"
    ANNOUNCED = "announcement.written"
    WITHDRAWN = "announcement.withdrawn"

    # One recording until the model.
    FETCH_BEGUN = "fetch.begun"  # its path is known, nothing is there
    FETCH_CHUNK = "fetch.chunk"
    FETCH_DONE = "fetch.done"
    DECODE_BEGUN = "decode.begun"
    DECODE_BLOCK = "decode.block"
    DECODE_DONE = "decode.done"

    # The model.
    MODEL_BEGUN = "model.begun"
    MODEL_CHUNK = "model.chunk"
    MODEL_FETCHED = "model.fetched"  # whole, under its partial name
    MODEL_PLACED = "model.placed"
    MODEL_UNPACKED = "model.unpacked"
    MODEL_LOADED = "model.loaded"
    BATCH_SENT = "batch.sent"
    BATCH_DONE = "batch.done"

    # The commit.
    FORMATTED = "transcript.formatted"
    FORMAT_PUT = "format.put"
    FORMAT_REMOVED = "format.removed"  # one that the replaced transcript had
    COMMIT_BEFORE = "commit.before"  # every other format is there
    COMMIT_PUT = "commit.put"  # nobody has been told
    LEDGER_BEFORE = "ledger.before"  # every recording of the shard has its outcome
    LEDGER_PUT = "ledger.put"

    # The drain.
    DRAIN_BEGUN = "drain.begun"
    DRAIN_FINISHED = "drain.finished"  # what was in flight is committed, the claims are held
    HANDED_BACK = "claim.handed-back"

    # The report.
    REPORT_RENDERED = "report.rendered"
    UPLOAD_NOTED = "upload.noted"  # the note that leads to a multipart upload is written
    UPLOAD_BEGUN = "upload.begun"
    UPLOAD_PART = "upload.part"
    UPLOAD_COMPLETED = "upload.completed"  # the note is still there
    REPORT_PUT = "report.put"  # one of its files


@dataclass(frozen=True, slots=True)
class Fault:
    """The signal that this process sends itself at the `passing`-th passing (from 1) of a point."""

    point: Point
    passing: int = 1
    signal: signal.Signals = signal.SIGKILL

    def __str__(self) -> str:
        return f"{self.point}:{self.passing}={self.signal.name}"

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Raises ValueError where it is not `<point>:<passing>[=<signal>]`."""
        place, _, name = text.partition("=")
        point, _, passing = place.partition(":")
        return cls(Point(point), int(passing), signal.Signals[name or "SIGKILL"])


class _Armed:
    """Counts passings over all threads."""

    def __init__(self, text: str) -> None:
        self._faults = {(fault.point, fault.passing): fault.signal for fault in map(Fault.parse, text.split(","))}
        self._passed: Counter[Point] = Counter()
        self._lock = threading.Lock()

    def __call__(self, point: Point) -> None:
        with self._lock:
            self._passed[point] += 1
            number = self._faults.get((point, self._passed[point]))
        if number is not None:
            os.kill(os.getpid(), number)


def _pass(point: Point) -> None:
    """Nothing."""


_text = os.environ.get(VARIABLE)
reach: Callable[[Point], None] = _Armed(_text) if _text else _pass
