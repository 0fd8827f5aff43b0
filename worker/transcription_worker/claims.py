"""Who does which shard: workers share a plan through the bucket alone, with no coordinator, lease or clock.

A worker first inherits what its predecessor of the same index left, then claims, then does backup work (Dean &
Ghemawat, MapReduce, 2004) until every shard has its ledger. A claim is one object that is created once; the
conditional commit of a transcript makes a double harmless.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from transcription_worker.errors import PreconditionFailed
from transcription_worker.layout import JobLayout
from transcription_worker.store.protocol import IfAbsent, Store


@dataclass(frozen=True, slots=True)
class Taken:
    """A shard that this worker works on, as its `taker`-th taker.

    `inherited`: a predecessor died on it, so its recordings are worked one at a time, each announced before it starts.
    `backup`: somebody else may still be at it.
    """

    shard: int
    taker: int
    inherited: bool = False
    backup: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """One listing of claims and ledgers: takers by shard, announcements by shard and line, finished shards."""

    takers: dict[int, int]
    announced: dict[int, dict[int, int]]
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
            if self._last_taker_is_me(shard, board.takers[shard]):
                taken = self._claim(shard, board.takers[shard], inherited=True)
                if taken:
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
            if taken := self._claim(shard, board.takers.get(shard, 0), backup=fewest > 0):
                yield taken

    def board(self) -> Board:
        """List claims and ledgers as they are now."""
        takers: dict[int, int] = {}
        announced: dict[int, dict[int, int]] = {}
        for info in self._store.list(self._layout.claims):
            shard, taker, *line = (int(part) for part in info.key.rpartition("/")[2].split("."))
            takers[shard] = max(takers.get(shard, 0), taker + 1)
            if line:
                lines = announced.setdefault(shard, {})
                lines[line[0]] = lines.get(line[0], 0) + 1
        finished = {
            int(info.key.rpartition("/")[2].partition(".")[0]) for info in self._store.list(self._layout.ledgers)
        }
        return Board(takers, announced, frozenset(finished))

    def announce(self, taken: Taken, line: int) -> int:
        """Say that a recording is about to start; returns how often that was said before."""
        before = self.board().announced.get(taken.shard, {}).get(line, 0)
        self._store.put(self._layout.announcement(taken.shard, taken.taker, line), self._body())
        return before

    def _claim(self, shard: int, taker: int, *, inherited: bool = False, backup: bool = False) -> Taken | None:
        try:
            self._store.put(self._layout.claim(shard, taker), self._body(), condition=IfAbsent())
        except PreconditionFailed:
            return None
        return Taken(shard, taker, inherited=inherited, backup=backup)

    def _last_taker_is_me(self, shard: int, takers: int) -> bool:
        body = self._store.get(self._layout.claim(shard, takers - 1))
        return bool(json.loads(body)["index"] == self._index)

    def _body(self) -> bytes:
        return json.dumps({"index": self._index, "worker": self._identity}).encode()


def fixed_split(*, index: int, workers: int, shards: int) -> Iterator[Taken]:
    """Where the store has no conditional writes: every workers-th shard, and no claim."""
    return (Taken(shard, 0) for shard in range(index, shards, workers))
