"""What the workers say over HTTP: `/progress` of every worker, `/progress/job` of one. Never the bucket.

One worker counts the ledgers for all; each adds what it has settled in shards that have no ledger yet (docs/running.md
has the pages). A worker is the user's image and may say anything: what is no number counts as none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import aiohttp

from transcription_api.status import MAX_FAILURES
from transcription_operator.constants import HTTP_PORT
from transcription_operator.observed import Pod, Totals
from transcription_operator.said import count, json_object, number, text

ANSWER_SECONDS = 3.0
MAX_ANSWER_BYTES = 128 * 1024
AT_ONCE = 16
"""Workers of one job asked at a time: slow ones cost nobody but their own job."""

NAMES = ("done", "skipped", "failed", "audio_seconds", "bytes", "total_bytes", "recordings", "speed")
FAILURE = ("key", "reason", "message")


class ProgressReader:
    """Asks workers how far they are. Made inside a running event loop."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS), connector=aiohttp.TCPConnector(limit=0)
        )

    async def read(self, pods: Iterable[Pod]) -> Totals | None:
        """The totals of a job; None when no worker answers, or none has counted the ledgers."""
        workers = sorted((pod for pod in pods if pod.ready and pod.ip), key=lambda pod: pod.index or 0)
        if not workers:
            return None
        # The ledgers last: a shard that is finished in between counts once, by its ledger.
        turns = asyncio.Semaphore(AT_ONCE)

        async def ask(pod: Pod) -> dict[str, Any] | None:
            async with turns:
                return await self._get(pod, "/progress")

        own = await asyncio.gather(*map(ask, workers))
        ledgers = await self._first(workers)
        return None if ledgers is None else add_up(ledgers, [answer for answer in own if answer is not None])

    async def close(self) -> None:
        await self._session.close()

    async def _first(self, workers: list[Pod]) -> dict[str, Any] | None:
        """The lowest index that answers: mostly the same one, which has the ledgers of before at hand."""
        for pod in workers[:3]:
            answer = await self._get(pod, "/progress/job")
            if answer is not None:
                return answer
        return None

    async def _get(self, pod: Pod, path: str) -> dict[str, Any] | None:
        host = f"[{pod.ip}]" if pod.ip and ":" in pod.ip else pod.ip
        try:
            async with self._session.get(f"http://{host}:{HTTP_PORT}{path}", allow_redirects=False) as response:
                if response.status != 200:
                    return None
                value = json_object(await _read_limited(response.content))
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None
        return None if value is None else reduced(value)


async def _read_limited(stream: aiohttp.StreamReader) -> bytes:
    """The whole body; ValueError where it is longer than any worker's answer."""
    chunks, size = [], 0
    async for chunk in stream.iter_chunked(1 << 16):
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise ValueError("too long an answer")
        chunks.append(chunk)
    return b"".join(chunks)


def reduced(answer: dict[str, Any]) -> dict[str, Any]:
    """What is used of an answer, so that no more than that is kept of a thousand workers."""
    kept = {name: answer[name] for name in NAMES if isinstance(answer.get(name), int | float)}
    digest, failures, shards = (answer.get(name) for name in ("model_digest", "failures", "shards"))
    rows = failures[:MAX_FAILURES] if isinstance(failures, list) else []
    return {
        **kept,
        "model_digest": text(digest, 80),
        "failures": [{k: text(row.get(k)) for k in FAILURE} for row in rows if isinstance(row, dict)],
        "finished_shards": _ranges(answer.get("finished_shards")),
        "shards": {
            int(name): {k: v for k, v in counts.items() if k in NAMES}
            for name, counts in (shards.items() if isinstance(shards, dict) else ())
            if name.isascii() and name.isdecimal() and len(name) < 10 and isinstance(counts, dict)
        },
    }


def add_up(ledgers: dict[str, Any], workers: list[dict[str, Any]]) -> Totals:
    """The job's totals: the ledgers' sums and, of each shard without a ledger, what most is told of it.

    Args:
        ledgers: a reduced answer of `/progress/job`.
        workers: reduced answers of `/progress`.
    """
    parts = [ledgers, *_unfinished(ledgers, workers)]
    speeds = [number(worker, "speed") or 0.0 for worker in workers]
    return Totals(
        done=sum(count(part, "done") for part in parts),
        skipped=sum(count(part, "skipped") for part in parts),
        failed=sum(count(part, "failed") for part in parts),
        audio_seconds=sum(number(part, "audio_seconds") or 0.0 for part in parts),
        recordings=count(ledgers, "recordings"),
        bytes=sum(count(part, "bytes") for part in parts),
        total_bytes=count(ledgers, "total_bytes"),
        speed=sum(speeds) if speeds else None,
        model_digest=next((worker["model_digest"] for worker in workers if worker["model_digest"]), None),
        failures=_failures([ledgers, *workers]),
    )


def _unfinished(ledgers: dict[str, Any], workers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two workers may be at one shard, one as the other's backup: whoever has settled more knows of the rest."""
    most: dict[int, dict[str, Any]] = {}
    for worker in workers:
        for shard, counts in worker["shards"].items():
            if not any(first <= shard <= last for first, last in ledgers["finished_shards"]):
                most[shard] = max(most.get(shard, {}), counts, key=_settled)
    return list(most.values())


def _ranges(value: Any) -> list[tuple[int, int]]:
    pairs = value if isinstance(value, list) else []
    return [(p[0], p[1]) for p in pairs if isinstance(p, list) and [type(end) for end in p] == [int, int]]


def _settled(counts: dict[str, Any]) -> int:
    return sum(count(counts, name) for name in ("done", "skipped", "failed"))


def _failures(answers: list[dict[str, Any]]) -> tuple[tuple[str, str, str], ...]:
    """The first few, each key once."""
    found: dict[str, tuple[str, str, str]] = {}
    for answer in answers:
        for row in answer["failures"]:
            if row["key"]:
                found.setdefault(row["key"], (row["key"], row["reason"], row["message"]))
    return tuple(list(found.values())[:MAX_FAILURES])
