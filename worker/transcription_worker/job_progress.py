"""How far the whole job is, counted from the ledgers in the bucket: any worker can be asked for it.

A ledger never changes, so each is read once and kept as counts; what is new is found by one listing every few seconds
at most. With it one worker speaks for all, also for those that are dead, and whoever shows progress to people needs no
access to the bucket.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from transcription_worker.counts import MAX_FAILURES, Counts, Failure
from transcription_worker.layout import JobLayout
from transcription_worker.outcome import State, read_outcomes
from transcription_worker.plan import Plan, read_plan
from transcription_worker.store.protocol import Store

REFRESH_SECONDS = 5.0
PATIENCE_SECONDS = 2.0
"""How long one asker waits for fresh figures."""
READERS = 8
READ_AT_ONCE = 32
"""Bodies of ledgers in memory at a time; a ledger holds a thousand lines at most."""


@dataclass(frozen=True, slots=True)
class JobTotals:
    """What the ledgers say. `finished` are the shards that have one, as ranges (first, last); `failures` are those of
    the lowest shards."""

    plan: Plan
    counts: Counts
    finished: tuple[tuple[int, int], ...]
    failures: tuple[Failure, ...]

    def to_dict(self) -> dict[str, object]:
        return {
            "recordings": self.plan.recordings,
            "total_bytes": self.plan.total_bytes,
            "shards": self.plan.shards,
            "ledgers": sum(last - first + 1 for first, last in self.finished),
            **asdict(self.counts),
            "failures": [asdict(failure) for failure in self.failures],
            "finished_shards": self.finished,
        }


class JobProgress:
    """Thread-safe; nothing is asked of the store before the first `read`.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, output: Store, layout: JobLayout, clock: Callable[[], float] = time.monotonic) -> None:
        self._output = output
        self._layout = layout
        self._clock = clock
        self._plan: Plan | None = None
        self._counts = Counts()
        self._finished: set[int] = set()
        self._failures: list[tuple[int, int, Failure]] = []
        self._totals: JobTotals | None = None
        self._looked: float | None = None
        self._refreshing = threading.Lock()

    def read(self) -> JobTotals | None:
        """The totals, a few seconds old where the store is quick; None until there are the first ones.

        A slow store holds up nobody for long: who has waited enough, or comes while others refresh, gets what stands.

        Raises:
            TranscriptionError: the store could not be read, or there is no plan.
        """
        due = self._looked is None or self._clock() - self._looked >= REFRESH_SECONDS
        if due and self._refreshing.acquire(blocking=False):
            errors: list[Exception] = []
            refresh = threading.Thread(target=self._refresh, args=(errors,), name="job-progress", daemon=True)
            refresh.start()
            refresh.join(PATIENCE_SECONDS)
            if errors:
                raise errors[0]
        return self._totals

    @property
    def finished(self) -> frozenset[int]:
        """The shards whose ledgers were counted so far."""
        return frozenset(self._finished)

    def _refresh(self, errors: list[Exception]) -> None:
        try:
            self._totals = self._count_new()
        except Exception as error:
            errors.append(error)
        finally:
            self._looked = self._clock()
            self._refreshing.release()

    def _count_new(self) -> JobTotals:
        plan = self._plan = self._plan or read_plan(self._output, self._layout)
        listed = {
            int(name): info.key
            for info in self._output.list(self._layout.ledgers)
            if (name := info.key.rpartition("/")[2].removesuffix(".jsonl")).isdecimal()
        }
        new = sorted(listed.keys() - self._finished)
        for start in range(0, len(new), READ_AT_ONCE):
            shards = new[start : start + READ_AT_ONCE]
            for shard, body in zip(shards, self._bodies([listed[shard] for shard in shards]), strict=True):
                self._count(shard, body)
        return JobTotals(
            plan=plan,
            counts=Counts(**asdict(self._counts)),
            finished=_ranges(self._finished),
            failures=tuple(failure for _, _, failure in self._failures),
        )

    def _bodies(self, keys: list[str]) -> list[bytes]:
        """Read at once, on daemon threads: a pool's threads would hold up the end of a worker whose store hangs."""
        bodies: dict[str, bytes] = {}
        errors: list[Exception] = []

        def read(some: list[str]) -> None:
            try:
                for key in some:
                    bodies[key] = self._output.get(key)
            except Exception as error:
                errors.append(error)

        readers = [threading.Thread(target=read, args=(keys[n::READERS],), daemon=True) for n in range(READERS)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        if errors:
            raise errors[0]
        return [bodies[key] for key in keys]

    def _count(self, shard: int, body: bytes) -> None:
        counts = Counts()
        found: list[tuple[int, int, Failure]] = []
        for line, outcome in enumerate(read_outcomes(body)):
            counts.add(outcome)
            if outcome.state is State.FAILED and len(found) < MAX_FAILURES:
                found.append((shard, line, Failure.of(outcome)))
        self._counts.include(counts)
        self._finished.add(shard)
        self._failures = heapq.nsmallest(MAX_FAILURES, [*self._failures, *found], key=lambda entry: entry[:2])


def _ranges(numbers: Iterable[int]) -> tuple[tuple[int, int], ...]:
    ranges: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return tuple(ranges)
