"""Where a job's objects live below its output location (see "In the output bucket" in docs/output.md)."""

from __future__ import annotations

from dataclasses import dataclass

JOBS_PREFIX = "_transcription/"


def output_key(key: str, suffix: str) -> str:
    """`a.wav` -> `a.wav.json`: the source name is kept whole, so that a.wav and a.mp3 never collide."""
    return f"{key}.{suffix}"


@dataclass(frozen=True, slots=True)
class JobLayout:
    """Keys of one job, `job_id` being `<name>-<first 8 of uid>`."""

    job_id: str

    @property
    def root(self) -> str:
        return f"{JOBS_PREFIX}{self.job_id}/"

    @property
    def plan(self) -> str:
        return f"{self.root}plan/plan.json"

    def shard(self, attempt: str, shard: int) -> str:
        """A shard of one attempt at planning: two planners at once never write into each other's plan."""
        return f"{self.root}plan/{attempt}/shard-{shard:05d}.jsonl"

    @property
    def claims(self) -> str:
        return f"{self.root}claims/"

    def claims_of(self, shard: int) -> str:
        """Prefix of every claim and announcement of a shard."""
        return f"{self.claims}{shard:05d}."

    def claims_beside(self, shard: int) -> str:
        """Prefix of the claims and announcements of a shard and its neighbours, about a thousand shards."""
        return f"{self.claims}{f'{shard:05d}'[:-3]}"

    def claim(self, shard: int, taker: int) -> str:
        return f"{self.claims}{shard:05d}.{taker}"

    def announcement(self, shard: int, taker: int, line: int) -> str:
        return f"{self.claims}{shard:05d}.{taker}.{line}"

    @property
    def ledgers(self) -> str:
        return f"{self.root}ledger/"

    def ledgers_beside(self, shard: int) -> str:
        """Prefix of the ledgers of a shard and its neighbours, about a thousand shards."""
        return f"{self.ledgers}{f'{shard:05d}'[:-3]}"

    def ledger(self, shard: int) -> str:
        return f"{self.ledgers}{shard:05d}.jsonl"

    @property
    def workers(self) -> str:
        return f"{self.root}workers/"

    def report(self, name: str) -> str:
        return f"{self.root}report/{name}"
