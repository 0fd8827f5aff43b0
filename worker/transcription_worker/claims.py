"""Who does which shard: workers share a plan through the bucket alone, with no coordinator, lease or clock.

A worker first inherits what its predecessor of the same index left, then claims, then does backup work (Dean &
Ghemawat, MapReduce, 2004) until every shard has its ledger. A claim is one object that is created once; the
conditional commit of a transcript makes a double harmless.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from transcription_worker.errors import PreconditionFailed, Reason, RecordingError
from transcription_worker.fault_points import Point, reach
from transcription_worker.layout import JobLayout
from transcription_worker.store.protocol import IfAbsent, Store

_NAME = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
"""shard.taker, and for an announcement shard.taker.line"""


@dataclass(frozen=True, slots=True)
class Taken:
    """A shard that this worker works on, as its `taker`-th taker.

    `careful`: takers have died on it, so its recordings are worked one at a time, each announced before it starts.
    `backup`: somebody else may still be at it.
    """

    shard: int
    taker: int
    careful: bool = False
    backup: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """One listing of claims and ledgers: takers by shard, shards with announcements, finished shards."""

    takers: dict[int, int]
    announced: frozenset[int]
    finished: frozenset[int]


class Claims:
    """The shards of one worker, in the order in which it should work them."""

    def __init__(
        self,
        store: Store,
        layout: JobLayout,
        *,
        index: int,
        workers: int,
        shards: int,
        identity: str,
        rng: random.Random | None = None,
    ) -> None:
        self._store = store
        self._layout = layout
        self._index = index
        self._workers = workers
        self._shards = shards
        self._identity = identity
        self._rng = rng or random.Random()  # noqa: S311  spreads claims, guards nothing

    def take(self, in_hand: Callable[[], frozenset[int]]) -> Iterator[Taken]:
        """Shards to work, one by one; ends when every shard has its ledger or is in this worker's hand.

        Args:
            in_hand: the shards that this worker has taken and not yet finished.
        """
        board = self.board()
        for shard in sorted(board.takers.keys() - board.finished):
            if not self._last_taker_is_me(shard, board.takers[shard]):
                continue
            if taken := self._claim(shard, board.takers[shard], careful=True):
                yield taken
        unclaimed = [s for s in range(self._shards) if s not in board.takers and s not in board.finished]
        if self._index in unclaimed:
            unclaimed.remove(self._index)
            if taken := self._claim(self._index, 0):
                yield taken
        while unclaimed:
            shard = unclaimed.pop(self._rng.randrange(min(len(unclaimed), 2 * self._workers)))
            if taken := self._claim(shard, 0):
                yield taken
            else:
                known = self.board()
                unclaimed = [s for s in unclaimed if s not in known.takers]
        yield from self._back_up(in_hand)

    def _back_up(self, in_hand: Callable[[], frozenset[int]]) -> Iterator[Taken]:
        while True:
            mine = in_hand()  # asked before the listing: a shard finished in between is in one of the two
            board = self.board()
            unfinished = [s for s in range(self._shards) if s not in board.finished and s not in mine]
            if not unfinished:
                return
            fewest = min(board.takers.get(s, 0) for s in unfinished)
            shard = self._rng.choice([s for s in unfinished if board.takers.get(s, 0) == fewest])
            careful = fewest > 1 or shard in board.announced
            if taken := self._claim(shard, fewest, careful=careful, backup=fewest > 0):
                yield taken

    def board(self) -> Board:
        """List claims and ledgers as they are now."""
        takers: dict[int, int] = {}
        announced = set()
        for shard, taker, line, _ in self._listed(self._layout.claims):
            takers[shard] = max(takers.get(shard, 0), taker + 1)
            if line is not None:
                announced.add(shard)
        finished = {
            int(name)
            for info in self._store.list(self._layout.ledgers)
            if (name := info.key.rpartition("/")[2].removesuffix(".jsonl")).isdecimal()
        }
        return Board(takers, frozenset(announced), frozenset(finished))

    def deaths(self, taken: Taken) -> dict[int, int]:
        """How often each recording (line) of a shard was announced by a worker that is known to have died on it.

        Known dead is who announced under this worker's own index, or under another index before somebody else did:
        an index has one live process at a time. A backup that is slow but alive is never counted.
        """
        announcers: dict[int, dict[int, set[str]]] = {}
        for _, _, line, key in self._listed(self._layout.claims_of(taken.shard)):
            if line is not None:
                body = json.loads(self._store.get(key))
                announcers.setdefault(line, {}).setdefault(body["index"], set()).add(body["worker"])
        return {
            line: sum(
                len(workers - {self._identity}) if index == self._index else len(workers) - 1
                for index, workers in by_index.items()
            )
            for line, by_index in announcers.items()
        }

    def announce(self, taken: Taken, line: int) -> None:
        """Say that a recording is about to start."""
        self._store.put(self._layout.announcement(taken.shard, taken.taker, line), self._body())
        reach(Point.ANNOUNCED)

    def withdraw(self, taken: Taken, line: int) -> None:
        """Take an announcement back: the worker drains, and whatever ends it now is not the recording."""
        self._store.delete(self._layout.announcement(taken.shard, taken.taker, line))
        reach(Point.WITHDRAWN)

    def hand_back(self, taken: Taken) -> None:
        """Give up a claim in good order, so that whoever comes next does not take its taker for dead."""
        self._store.delete(self._layout.claim(taken.shard, taken.taker))
        reach(Point.HANDED_BACK)

    def _listed(self, prefix: str) -> Iterator[tuple[int, int, int | None, str]]:
        """Shard, taker, announced line and key of everything below a prefix that is ours."""
        for info in self._store.list(prefix):
            if match := _NAME.fullmatch(info.key.rpartition("/")[2]):
                shard, taker, line = match.groups()
                yield int(shard), int(taker), None if line is None else int(line), info.key

    def _claim(self, shard: int, taker: int, *, careful: bool = False, backup: bool = False) -> Taken | None:
        reach(Point.CLAIM_BEFORE)
        try:
            self._store.put(self._layout.claim(shard, taker), self._body(), condition=IfAbsent())
        except PreconditionFailed:
            return None
        reach(Point.CLAIM_CREATED)
        return Taken(shard, taker, careful=careful, backup=backup)

    def _last_taker_is_me(self, shard: int, takers: int) -> bool:
        try:
            body = self._store.get(self._layout.claim(shard, takers - 1))
        except RecordingError as error:
            if error.reason is Reason.NOT_FOUND:
                return False  # handed back since it was listed
            raise
        return bool(json.loads(body)["index"] == self._index)

    def _body(self) -> bytes:
        return json.dumps({"index": self._index, "worker": self._identity}).encode()


def fixed_split(*, index: int, workers: int, shards: int) -> Iterator[Taken]:
    """Where the store has no conditional writes: every workers-th shard, and no claim.

    An index beyond the workers, of a job that was scaled up while it ran, finds everything given to others.
    """
    return (Taken(shard, 0) for shard in range(index, shards if index < workers else 0, workers))
