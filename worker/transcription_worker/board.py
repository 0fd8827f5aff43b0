"""What the bucket says of a job's shards: who has taken them, since when, and which are finished.

Everything here comes from listings of claims and ledgers; no object is opened. Times are the store's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from transcription_worker.layout import JobLayout
from transcription_worker.store.protocol import Store

_NAME = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
"""shard.taker, and for an announcement shard.taker.line"""
FEWEST_LIKE = 8
"""Of so many finished shards it is known how long such shards take."""
LEFT_BEHIND_TIMES, LEFT_BEHIND_SECONDS = 3.0, 60.0
"""Who has held a shard for so many times as long as nine in ten of its like took, and then some, is lost or frozen."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim, or the announcement of a recording (`line`)."""

    key: str
    modified: float
    shard: int
    taker: int
    line: int | None


@dataclass(frozen=True, slots=True)
class Board:
    """One listing of claims and ledgers: takers by shard, shards with announcements, finished shards."""

    takers: Mapping[int, int]
    announced: frozenset[int]
    finished: frozenset[int]


@dataclass(frozen=True, slots=True)
class Held:
    """The first thousand shards, which are the largest, with times.

    Attributes:
        begun: when the last taker of each came, or announced a recording of it.
        ended: when the ledger of each finished one was written.
        now: the latest time known.
    """

    takers: Mapping[int, int]
    announced: frozenset[int]
    begun: Mapping[int, float]
    ended: Mapping[int, float]
    now: float

    def seconds(self, shard: int) -> float:
        """Since its last taker came."""
        return self.now - self.begun[shard]

    def left_behind(self, reach: int) -> list[int]:
        """Shards whose last taker came longer ago than any of their like took by far, the largest first.

        Args:
            reach: how many shards before and behind one are its like.
        """
        behind = []
        for shard in sorted(self.begun.keys() - self.ended.keys()):
            like = range(shard - reach, shard + reach + 1)
            took = sorted(self.ended[s] - self.begun[s] for s in like if s in self.ended and s in self.begun)
            if len(took) < FEWEST_LIKE:
                continue
            nine_in_ten = took[int(0.9 * (len(took) - 1))]
            if self.seconds(shard) > LEFT_BEHIND_TIMES * nine_in_ten + LEFT_BEHIND_SECONDS:
                behind.append(shard)
        return behind


class Listings:
    """Claims and ledgers of a job of so many `shards`, as they are whenever something is asked."""

    def __init__(self, store: Store, layout: JobLayout, shards: int) -> None:
        self._store = store
        self._layout = layout
        self._shards = shards
        self._newest = 0.0

    def board(self) -> Board:
        """All shards."""
        return self._board([self._layout.claims], [self._layout.ledgers])

    def again(self, board: Board) -> Board:
        """All shards, looking only at those that were not finished and their neighbours: what is finished stays so."""
        unfinished = [s for s in range(self._shards) if s not in board.finished]
        now = self._board(
            sorted({self._layout.claims_beside(s) for s in unfinished}),
            sorted({self._layout.ledgers_beside(s) for s in unfinished}),
        )
        return Board(now.takers, now.announced, board.finished | now.finished)

    def held(self) -> Held:
        """The first thousand."""
        claims = list(self.claims(self._layout.claims_beside(0)))
        begun: dict[int, float] = {}
        for claim in claims:
            begun[claim.shard] = max(begun.get(claim.shard, 0.0), claim.modified)
        ended = self._written(self._layout.ledgers_beside(0))
        now = max([self._newest, *ended.values()])
        return Held(_takers(claims), _announced(claims), begun, ended, now)

    def takers(self, prefix: str) -> dict[int, int]:
        """By how many workers each shard has been taken that has a claim below a prefix."""
        return _takers(self.claims(prefix))

    def finished_beside(self, shards: Iterable[int]) -> frozenset[int]:
        """The finished ones among some shards and their neighbours."""
        return self._finished(sorted({self._layout.ledgers_beside(shard) for shard in shards}))

    def announcements(self, shard: int) -> dict[int, list[str]]:
        """The keys of the announcements of a shard, by recording (line)."""
        announcements: dict[int, list[str]] = {}
        for claim in self.claims(self._layout.claims_of(shard)):
            if claim.line is not None:
                announcements.setdefault(claim.line, []).append(claim.key)
        return announcements

    def claims(self, prefix: str) -> Iterator[Claim]:
        """Everything below a prefix that is ours."""
        for info in self._store.list(prefix):
            if match := _NAME.fullmatch(info.key.rpartition("/")[2]):
                shard, taker, line = match.groups()
                self._newest = max(self._newest, info.modified)
                yield Claim(info.key, info.modified, int(shard), int(taker), None if line is None else int(line))

    def _board(self, claims: list[str], ledgers: list[str]) -> Board:
        found = [claim for prefix in claims for claim in self.claims(prefix)]
        return Board(_takers(found), _announced(found), self._finished(ledgers))

    def _finished(self, ledgers: list[str]) -> frozenset[int]:
        return frozenset(shard for prefix in ledgers for shard in self._written(prefix))

    def _written(self, ledgers: str) -> dict[int, float]:
        """When each ledger below a prefix was written."""
        return {
            int(name): info.modified
            for info in self._store.list(ledgers)
            if (name := info.key.rpartition("/")[2].removesuffix(".jsonl")).isdecimal()
        }


def _takers(claims: Iterable[Claim]) -> dict[int, int]:
    takers: dict[int, int] = {}
    for claim in claims:
        takers[claim.shard] = max(takers.get(claim.shard, 0), claim.taker + 1)
    return takers


def _announced(claims: Iterable[Claim]) -> frozenset[int]:
    return frozenset(claim.shard for claim in claims if claim.line is not None)
