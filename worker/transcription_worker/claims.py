"""Who does which shard: workers share a plan through the bucket alone, with no coordinator, lease or clock.

A worker first inherits what its predecessor of the same index left, then claims, then does backup work (Dean &
Ghemawat, MapReduce, 2004) until every shard has its ledger. A claim is one object that is created once; the
conditional commit of a transcript makes a double harmless.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from transcription_worker.board import FEWEST_LIKE, LEFT_BEHIND_TIMES, Board, Listings
from transcription_worker.errors import PreconditionFailed, Reason, RecordingError
from transcription_worker.fault_points import Point, reach
from transcription_worker.flow import Finished
from transcription_worker.layout import JobLayout
from transcription_worker.plan import Recording
from transcription_worker.store.protocol import IfAbsent, Store

log = logging.getLogger(__name__)

LOOK_SECONDS = 180.0
"""How often a worker whose model has enough to do looks whether others have finished that meanwhile."""
FEW_RECORDINGS = 4
"""For each taker beyond the first there are more to do, or one more helps nobody: it does what others are at."""
QUICKER = 1.3
"""From so many times the speed on, who begins last may be the first to end."""
LONGEST_PATIENCE_SECONDS = 900.0
"""Estimates go by size: a film is no recording of a week."""
SHORT_SECONDS = 10.0
"""What takes no longer is done at once, in vain or not."""
IDLE_LOOK_SECONDS = 30.0
"""How often a worker that leaves such a shard to others looks whether they have finished it."""
LOOK_BACK_SHARE = 1 / 16
"""At so many of its claims a worker looks for large shards that were left behind: a few requests."""
LIKE = 2
"""The likes of a shard are so many times the workers before and behind it, for shards come by size."""
CLAIM_AT_BATCHES = 1.5
"""So many batches of audio keep the model busy while another shard is taken: one is in it, the rest gathers."""


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


class WaitForModel(Protocol):
    """Waits until no more than so many batches of audio are waiting for the model or in it; False where that takes
    longer than `seconds`."""

    def __call__(self, batches: float, seconds: float | None = None, /) -> bool: ...


class Claims:
    """The shards of one worker, in the order in which it should work them.

    Args:
        speed: audio seconds per second of this worker's model; 0 while nobody knows.
    """

    def __init__(
        self,
        store: Store,
        layout: JobLayout,
        *,
        index: int,
        workers: int,
        shards: int,
        identity: str,
        speed: Callable[[], float] = lambda: 0.0,
        read_shard: Callable[[int], Sequence[Recording]] = lambda shard: (),
        rng: random.Random | None = None,
    ) -> None:
        self._store = store
        self._layout = layout
        self._index = index
        self._workers = workers
        self._shards = shards
        self._identity = identity
        self._speed = speed
        self._read_shard = read_shard
        self._listings = Listings(store, layout, shards)
        self._estimates: dict[int, float] = {}
        self._rng = rng or random.Random()  # noqa: S311  spreads claims, guards nothing

    def take(
        self,
        in_hand: Callable[[], frozenset[int]],
        wait_for_model: WaitForModel = lambda batches, seconds=None: True,
        rest: Callable[[float], None] = lambda seconds: None,
    ) -> Iterator[Taken]:
        """Shards to work, one by one; ends when every shard has its ledger or is in this worker's hand.

        Args:
            in_hand: the shards that this worker has taken and not yet finished.
            wait_for_model: a slow worker that takes shards early keeps others from them; backup work is for who has
                nothing else.
            rest: waits so many seconds.

        Raises:
            Finished: every shard has its ledger, while the model still works on some of them here.
        """
        board = self._listings.board()
        for shard in sorted(board.takers.keys() - board.finished) if self._may_inherit(board) else ():
            if not self._last_taker_is_me(shard, board.takers[shard]):
                continue
            if taken := self._claim(shard, board.takers[shard], careful=True):
                yield taken
        yield from self._claim_unclaimed(board, in_hand, wait_for_model)
        yield from self._back_up(board, in_hand, wait_for_model, rest)

    def _claim_unclaimed(
        self, board: Board, in_hand: Callable[[], frozenset[int]], wait_for_model: WaitForModel
    ) -> Iterator[Taken]:
        unclaimed = [s for s in range(self._shards) if s not in board.takers and s not in board.finished]
        outdated = ""
        if self._index in unclaimed:
            unclaimed.remove(self._index)
            if taken := self._claim(self._index, 0):
                yield taken
                self._wait_to_claim(wait_for_model, in_hand)
            outdated = self._layout.claims  # where all start at once, the others have claimed theirs since
        unclaimed = self._behind_the_next(unclaimed)
        while unclaimed:
            if taken := self._take_left_behind(in_hand):
                yield taken
                self._wait_to_claim(wait_for_model, in_hand)
            if outdated:
                known = self._listings.takers(outdated)
                unclaimed = [s for s in unclaimed if s not in known]
                outdated = ""
                continue
            shard = unclaimed.pop(self._rng.randrange(min(len(unclaimed), 2 * self._workers)))
            if taken := self._claim(shard, 0):
                yield taken
                self._wait_to_claim(wait_for_model, in_hand)
            else:
                outdated = self._layout.claims_beside(shard)

    def _take_left_behind(self, in_hand: Callable[[], frozenset[int]]) -> Taken | None:
        """Now and then, the largest shard whose worker is lost for good: it is work like any other, and should not be
        what everybody waits for at the end."""
        if self._workers == 1 or self._rng.random() >= LOOK_BACK_SHARE:
            return None
        mine = in_hand()
        held = self._listings.held()
        for shard in held.left_behind(max(LIKE * self._workers, 2 * FEWEST_LIKE)):
            takers = held.takers[shard]
            if shard in mine or not self._is_overdue(shard, takers, held.seconds(shard)):
                continue
            if taken := self._claim(shard, takers, careful=takers > 1 or shard in held.announced, backup=True):
                log.info("shard %d was left behind: it is worked here", shard)
                return taken
        return None

    def _is_overdue(self, shard: int, takers: int, held: float) -> bool:
        """Whether a shard has also been held for several times as long as the plan thinks it takes its taker, and this
        worker: where most was done before, its like say nothing, for they took no time at all."""
        if shard not in self._estimates:
            self._estimates[shard] = sum(recording.estimated_seconds for recording in self._read_shard(shard))
        enough = LEFT_BEHIND_TIMES * self._estimates[shard]
        if held * self._speed() < enough:
            return False
        claim = self._get(self._layout.claim(shard, takers - 1))
        return claim is not None and held * (claim.get("speed") or self._speed()) >= enough

    def _behind_the_next(self, unclaimed: list[int]) -> list[int]:
        """Shards that other indexes begin with come later: who starts a moment after this worker finds its own."""
        firsts = [s for s in unclaimed if s < self._workers]
        others = [s for s in unclaimed if s >= self._workers]
        window = 2 * self._workers
        return others[:window] + firsts + others[window:]

    def _wait_to_claim(self, wait_for_model: WaitForModel, in_hand: Callable[[], frozenset[int]]) -> None:
        while self._workers > 1 and not wait_for_model(CLAIM_AT_BATCHES, LOOK_SECONDS):
            self.refuse_vain_work(in_hand())

    def refuse_vain_work(self, in_hand: frozenset[int]) -> None:
        """Look whether others have finished what this worker still holds: a shard may be backed up by anyone.

        Raises:
            Finished: every shard has its ledger.
        """
        if in_hand <= self._listings.finished_beside(in_hand) and len(self._listings.board().finished) == self._shards:
            raise Finished

    def _back_up(
        self,
        board: Board,
        in_hand: Callable[[], frozenset[int]],
        wait_for_model: WaitForModel,
        rest: Callable[[float], None],
    ) -> Iterator[Taken]:
        left: dict[tuple[int, int], float] = {}
        while True:
            while not wait_for_model(0.0, LOOK_SECONDS):
                self.refuse_vain_work(in_hand())
            mine = in_hand()  # asked before the listing: a shard finished in between is in one of the two
            board = self._listings.again(board)
            unfinished = [s for s in range(self._shards) if s not in board.finished and s not in mine]
            if not unfinished:
                return
            fewest = min(board.takers.get(s, 0) for s in unfinished)
            candidates = [s for s in unfinished if board.takers.get(s, 0) == fewest]
            candidates = candidates[: self._workers]  # the largest: small ones are done in a moment
            self._rng.shuffle(candidates)
            shard = next((s for s in candidates if self._patience(left, s, fewest) <= SHORT_SECONDS), None)
            if shard is None:
                pause = min(IDLE_LOOK_SECONDS, *(left[s, fewest] for s in candidates))
                rest(pause)
                left.update({(s, fewest): left[s, fewest] - pause for s in candidates})
                continue
            careful = fewest > 1 or shard in board.announced
            if taken := self._claim(shard, fewest, careful=careful, backup=fewest > 0):
                yield taken

    def _patience(self, left: dict[tuple[int, int], float], shard: int, takers: int) -> float:
        """For how many seconds more to leave a shard to those who have taken it; `left` remembers it."""
        if (shard, takers) not in left:
            left[shard, takers] = self._patience_at_first(shard, takers)
        return left[shard, takers]

    def _patience_at_first(self, shard: int, takers: int) -> float:
        """Two are enough for a long recording, three for eight of them: one more would work in vain unless it is
        quicker. It waits as long as it would take itself: by then they are lost for good, or it is as well that
        somebody begins.
        """
        speed = self._speed()
        if takers < 2 or not speed:
            return 0.0
        recordings = self._read_shard(shard)
        if len(recordings) > FEW_RECORDINGS * (takers - 1):
            return 0.0
        speeds: dict[int, float] = {}
        for body in filter(None, (self._get(self._layout.claim(shard, taker)) for taker in range(takers))):
            speeds[body["index"]] = body.get("speed") or speeds.get(body["index"], speed)
        speeds.pop(self._index, None)  # a predecessor, and it is dead
        if len(speeds) < 2 or speed >= QUICKER * max(speeds.values()):
            return 0.0
        return min(sum(recording.estimated_seconds for recording in recordings) / speed, LONGEST_PATIENCE_SECONDS)

    def announcements(self, taken: Taken) -> dict[int, list[str]]:
        """The keys of the announcements of a shard, by recording (line)."""
        return self._listings.announcements(taken.shard)

    def deaths(self, announcements: Iterable[str]) -> int:
        """By how many workers that are known to have died on it a recording was announced.

        Known dead is who announced under this worker's own index, or under another index before somebody else did:
        an index has one live process at a time. A backup that is slow but alive is never counted.
        """
        announcers: dict[int, set[str]] = {}
        for key in announcements:
            if body := self._get(key):
                announcers.setdefault(body["index"], set()).add(body["worker"])
        return sum(
            len(workers - {self._identity}) if index == self._index else len(workers) - 1
            for index, workers in announcers.items()
        )

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

    def _claim(self, shard: int, taker: int, *, careful: bool = False, backup: bool = False) -> Taken | None:
        reach(Point.CLAIM_BEFORE)
        try:
            self._store.put(self._layout.claim(shard, taker), self._body(), condition=IfAbsent())
        except PreconditionFailed:
            return None
        reach(Point.CLAIM_CREATED)
        return Taken(shard, taker, careful=careful, backup=backup)

    def _may_inherit(self, board: Board) -> bool:
        """Every index begins with its own shard: while that is untouched, nobody has worked under this index."""
        return self._index in board.takers or self._index in board.finished or self._index >= self._shards

    def _last_taker_is_me(self, shard: int, takers: int) -> bool:
        body = self._get(self._layout.claim(shard, takers - 1))
        return body is not None and bool(body["index"] == self._index)

    def _get(self, key: str) -> dict[str, Any] | None:
        """Who wrote a claim or an announcement; None where it was handed back or withdrawn since it was listed."""
        try:
            body: dict[str, Any] = json.loads(self._store.get(key))
        except RecordingError as error:
            if error.reason is Reason.NOT_FOUND:
                return None
            raise
        return body

    def _body(self) -> bytes:
        speed = round(self._speed(), 1)
        return json.dumps({"index": self._index, "worker": self._identity, "speed": speed}).encode()


def fixed_split(*, index: int, workers: int, shards: int) -> Iterator[Taken]:
    """Where the store has no conditional writes: every workers-th shard, and no claim.

    An index beyond the workers, of a job that was scaled up while it ran, finds everything given to others.
    """
    return (Taken(shard, 0) for shard in range(index, shards if index < workers else 0, workers))
