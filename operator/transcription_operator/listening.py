"""Progress, asked for beside the passes: a worker that does not answer holds nobody up.

A pass takes what was heard last, and is woken when more is heard.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from transcription_operator.observed import Pod, Totals
from transcription_operator.progress import ProgressReader
from transcription_operator.world import Key


@dataclass
class Heard:
    """What one job's workers said last."""

    at: float = float("-inf")
    totals: Totals | None = None
    asking: asyncio.Task[None] | None = None


@dataclass
class Listener:
    """Asks the workers of each job at most every `every` seconds, and calls `wake` with its key after an answer."""

    reader: ProgressReader
    every: float
    wake: Callable[[Key], None]
    clock: Callable[[], float] = time.monotonic
    _heard: dict[Key, Heard] = field(default_factory=dict)

    def totals(self, key: Key, pods: Iterable[Pod]) -> Totals | None:
        """What was heard last; asks anew where that is old."""
        heard = self._heard.setdefault(key, Heard())
        if heard.asking is None and self.clock() - heard.at >= self.every:
            heard.asking = asyncio.create_task(self._ask(key, heard, tuple(pods)), name=f"progress {'/'.join(key)}")
        return heard.totals

    def forget(self, key: Key) -> None:
        """The job works no more."""
        heard = self._heard.pop(key, None)
        if heard is not None and heard.asking is not None:
            heard.asking.cancel()

    async def close(self) -> None:
        for key in list(self._heard):
            self.forget(key)
        await self.reader.close()

    async def _ask(self, key: Key, heard: Heard, pods: tuple[Pod, ...]) -> None:
        totals = await self.reader.read(pods)
        changed = totals != heard.totals
        heard.at, heard.totals, heard.asking = self.clock(), totals, None
        if changed:
            self.wake(key)
