"""How lives end: which fault point, which moment or which signal, drawn by a seed so that every point has its turn."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, replace
from enum import StrEnum

from transcription_worker.fault_points import VARIABLE, Point


class Role(StrEnum):
    PLAN = "plan"
    WORK = "work"
    REPORT = "report"
    RUN = "run"


class Kind(StrEnum):
    """What is done to a life."""

    POINT = "point"
    """It dies by SIGKILL when it passes a fault point for the n-th time."""
    MOMENT = "moment"
    """It is killed so many seconds after its start, wherever it is."""
    CHILDREN = "children"
    """Its child processes, which decode and make requests, are killed; it lives on."""
    TOGETHER = "together"
    """Every worker is killed at the same moment."""
    SPARED = "spared"


PLANNING = (Point.PROBE_WRITTEN, Point.PLAN_LISTED, Point.PLAN_SHARD_WRITTEN, Point.PLAN_BEFORE, Point.PLAN_WRITTEN)
UPLOADING = (Point.UPLOAD_NOTED, Point.UPLOAD_BEGUN, Point.UPLOAD_PART, Point.UPLOAD_COMPLETED)
REPORTING = (Point.REPORT_RENDERED, Point.REPORT_PUT, *UPLOADING)
PLAN_POINTS = (Point.LEASE_CREATED, Point.LEASE_LOCKED, Point.SCRATCH_MADE, *PLANNING)
WORK_POINTS = tuple(point for point in Point if point not in {*PLANNING, *REPORTING})
REPORT_POINTS = (*REPORTING, Point.SCRATCH_CLOSING, Point.SCRATCH_REMOVED)
"""Where a process of each role may die. What they share has its turn in more than one."""

DRAIN_POINTS = (Point.DRAIN_BEGUN, Point.DRAIN_FINISHED, Point.HANDED_BACK)
"""Reached only by a worker that got SIGTERM while it had a shard."""
BEFORE_A_DRAIN = (Point.CLAIM_CREATED, Point.FETCH_DONE, Point.DECODE_BLOCK, Point.FORMAT_PUT)
MODEL_POINTS = (Point.MODEL_BEGUN, Point.MODEL_CHUNK, Point.MODEL_FETCHED, Point.MODEL_PLACED)
"""Reached only by a worker whose cache does not hold the model."""
AFTER_A_DEATH = frozenset({Point.ORPHAN_TAKEN, Point.ORPHAN_REMOVED, Point.ANNOUNCED, Point.WITHDRAWN})
"""Reached only by the successor of one that was killed at work."""
OFTEN = {
    Point.FETCH_BEGUN: 12,
    Point.FETCH_CHUNK: 12,
    Point.FETCH_DONE: 12,
    Point.DECODE_BEGUN: 12,
    Point.DECODE_BLOCK: 12,
    Point.DECODE_DONE: 12,
    Point.BATCH_SENT: 3,
    Point.BATCH_DONE: 3,
    Point.FORMATTED: 12,
    Point.FORMAT_PUT: 24,
    Point.COMMIT_BEFORE: 12,
    Point.COMMIT_PUT: 12,
    Point.CLAIM_BEFORE: 3,
    Point.CLAIM_CREATED: 3,
    Point.ANNOUNCED: 3,
    Point.PLAN_SHARD_WRITTEN: 20,
    Point.REPORT_PUT: 3,
    Point.UPLOAD_PART: 3,
}
"""Up to which passing a point may kill; every other point kills at the first."""
RECORDINGS_PER_PASSING = 12
"""Several workers, and several lives of each, share a job's recordings."""

PATIENCE = 3.0
"""So many times an undisturbed life a point may take to be reached: the machine has other things to do."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one life. `seconds` after its start it is killed at the latest, if its point was not reached."""

    kind: Kind = Kind.SPARED
    point: Point | None = None
    switch: str = ""
    seconds: float = 0.0

    @property
    def label(self) -> str:
        return str(self.point or self.kind)

    @property
    def environment(self) -> dict[str, str]:
        return {VARIABLE: self.switch} if self.switch else {}

    @property
    def without_model(self) -> bool:
        """Whether the worker must start with an empty cache."""
        return self.point in MODEL_POINTS

    @property
    def in_parts(self) -> bool:
        """Whether the reporter must send its files in parts, however small they are."""
        return self.point in UPLOADING


SPARED = Fate()


def at_point(point: Point, passing: int, rng: random.Random, longest: float) -> Fate:
    switch = f"{point}:{passing}"
    if point in DRAIN_POINTS:
        switch += f",{rng.choice(BEFORE_A_DRAIN)}:1=SIGTERM"
    elif point is Point.WITHDRAWN:
        switch += f",{Point.ANNOUNCED}:1=SIGTERM"
    return Fate(Kind.POINT, point, switch, longest)


class Schedule:
    """Fates by role, in an order drawn by `seed`: every point once, and moments until there are `kills` in all.

    A fate that did not come true is put back behind those that wait, for an earlier passing or moment of another life.

    Args:
        recordings: of a job; in a small one no point is passed often.
        life_seconds: how long an undisturbed worker takes here.
    """

    def __init__(self, kills: int, seed: int, recordings: int, life_seconds: float) -> None:
        self._rng = random.Random(seed)
        self._life_seconds = life_seconds
        most = max(1, recordings // RECORDINGS_PER_PASSING)
        drawn = {
            role: [self._point(point, self._rng.randint(1, min(most, OFTEN.get(point, 1)))) for point in points]
            for role, points in ((Role.PLAN, PLAN_POINTS), (Role.WORK, WORK_POINTS), (Role.REPORT, REPORT_POINTS))
        }
        moments = max(0, kills - sum(map(len, drawn.values())))
        for role in (Role.PLAN, Role.REPORT):
            drawn[role] += [Fate(Kind.MOMENT, seconds=self._rng.uniform(0, 2.0)) for _ in range(moments // 12)]
        drawn[Role.WORK] += [self._moment() for _ in range(moments - 2 * (moments // 12))]
        for fates in drawn.values():
            self._rng.shuffle(fates)
        self._waiting = {role: deque(fates) for role, fates in drawn.items()}

    @property
    def waiting(self) -> int:
        """Fates that have not come true."""
        return sum(map(len, self._waiting.values()))

    def next(self, role: Role, *, after_death: bool = False, replaces: bool = False) -> Fate:
        """SPARED when no fate of the role is left that could come true.

        Args:
            after_death: whether this life succeeds one that was killed.
            replaces: whether the job replaces transcripts of an earlier one.
        """
        waiting = self._waiting[role]
        for _ in range(len(waiting)):
            fate = waiting.popleft()
            unreachable = (fate.point is Point.FORMAT_REMOVED and not replaces) or (
                fate.point in AFTER_A_DEATH and not after_death
            )
            if not unreachable:
                return fate
            waiting.append(fate)
        needs_a_death = any(fate.point in AFTER_A_DEATH for fate in waiting)
        return self._point(Point.CLAIM_CREATED, 1) if needs_a_death else SPARED

    def put_back(self, role: Role, fate: Fate) -> None:
        sooner = replace(fate, seconds=fate.seconds / 2) if fate.point is None else self._point(fate.point, 1)
        self._waiting[role].append(sooner)

    def _point(self, point: Point, passing: int) -> Fate:
        return at_point(point, passing, self._rng, PATIENCE * self._life_seconds)

    def _moment(self) -> Fate:
        kind = self._rng.choices((Kind.MOMENT, Kind.CHILDREN, Kind.TOGETHER), (6, 3, 1))[0]
        return Fate(kind, seconds=self._rng.uniform(0.05, 0.8) * self._life_seconds)
