"""What a driver sees of a fleet while it works: claims, ledgers and transcripts in the bucket. Changes nothing.

Who holds a shard is who claimed it last and has written no ledger; what it has left are the recordings of the shard
that get a transcript in an undisturbed run and have none yet.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

from tests.chaos.fleet import ChaosJob
from tests.chaos.verdict import Reference, read_objects

SETTLE_SECONDS = 10.0
"""What a store may take over the requests of a process that was stopped."""


@dataclass(frozen=True)
class Sight:
    """One look at the bucket."""

    holders: Mapping[int, int]
    """Unfinished shard -> index of its last taker."""
    finished: frozenset[int]
    committed: frozenset[str]
    """Recordings that have a transcript."""


class Board:
    """Looks at the bucket of one job whose plan stands."""

    def __init__(self, job: ChaosJob, reference: Reference) -> None:
        self._job = job
        self._client = job.server.client()
        self._done = {key for key, outcome in reference.outcomes.items() if outcome["state"] == "done"}
        objects = read_objects(job.server, job.bucket, f"{job.root}/plan/")
        plan = json.loads(objects["plan.json"][1])
        self.shards: dict[int, list[str]] = {
            number: [
                json.loads(line)["key"]
                for line in objects[f"{plan['attempt']}/shard-{number:05d}.jsonl"][1].decode().splitlines()
            ]
            for number in range(plan["shards"])
        }

    @property
    def transcripts(self) -> int:
        """How many there will be."""
        return len(self._done)

    def look(self) -> Sight:
        last: dict[int, int] = {}
        for name in self._names("claims/"):
            shard, taker, *announced = map(int, name.split("."))
            if not announced:
                last[shard] = max(last.get(shard, 0), taker)
        finished = self.finished()
        holders = {shard: self._index_of(shard, taker) for shard, taker in last.items() if shard not in finished}
        return Sight(holders, finished, self.committed())

    def finished(self) -> frozenset[int]:
        """Shards that have their ledger."""
        return frozenset(int(name.removesuffix(".jsonl")) for name in self._names("ledger/"))

    def committed(self) -> frozenset[str]:
        """Recordings that have a transcript."""
        prefix = f"{self._job.output}/"
        keys = (key.removeprefix(prefix) for key in self._keys(f"{prefix}day-"))
        return frozenset(key.removesuffix(".json") for key in keys if key.endswith(".json"))

    def left_of(self, index: int) -> dict[int, list[str]]:
        """By shard, what a worker that stands still has taken and not done; waits for what it had asked before."""
        deadline = time.monotonic() + SETTLE_SECONDS
        left = self._left_of(index, self.look())
        while (now := self._left_of(index, self.look())) != left and time.monotonic() < deadline:
            left = now
        return now

    def _left_of(self, index: int, sight: Sight) -> dict[int, list[str]]:
        left = {
            shard: [key for key in self.shards[shard] if key in self._done and key not in sight.committed]
            for shard, holder in sight.holders.items()
            if holder == index
        }
        return {shard: keys for shard, keys in left.items() if keys}

    def _index_of(self, shard: int, taker: int) -> int:
        claim = self._client.get_object(Bucket=self._job.bucket, Key=f"{self._job.root}/claims/{shard:05d}.{taker}")
        return int(json.loads(claim["Body"].read())["index"])

    def _names(self, folder: str) -> list[str]:
        prefix = f"{self._job.root}/{folder}"
        return [key.removeprefix(prefix) for key in self._keys(prefix)]

    def _keys(self, prefix: str) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._job.bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]
