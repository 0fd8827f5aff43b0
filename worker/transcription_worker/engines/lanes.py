"""How the rows of a batch are spread over the CPUs: small chunks, several at once, each on one lane.

What a chunk goes through is the engine's. On a GPU the whole batch is one chunk.

A batch that goes through an encoder at once makes tensors that the allocator takes from the kernel and gives back,
page by page, at every layer: with 120 s of audio that was a third of the CPU time, with `CHUNK_SECONDS` it is none.
And where chunks run side by side no thread waits at the end of each layer for another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

C = TypeVar("C")
R = TypeVar("R")

CHUNK_SECONDS = 60.0
"""Padded audio per chunk: two rows of the longest segments; less costs calls, more costs page faults."""


def cut(sizes: Sequence[int], *, limit: int, lanes: int) -> list[list[int]]:
    """The positions of a batch's rows in chunks of like length, the longest rows first.

    Args:
        sizes: the length of each row.
        limit: the most that a chunk holds, padding included; one row alone may exceed it.
        lanes: where there is work for all of them, none gets a chunk that leaves another without.
    """
    order = sorted(range(len(sizes)), key=lambda i: sizes[i], reverse=True)
    if lanes > 1:
        limit = min(limit, -(-sum(sizes) // lanes))
    chunks: list[list[int]] = []
    for i in order:
        if chunks and sizes[chunks[-1][0]] * (len(chunks[-1]) + 1) <= limit:
            chunks[-1].append(i)
        else:
            chunks.append([i])
    return chunks


class Lanes:
    """Threads that each take one chunk at a time.

    Args:
        count: how many.
        set_threads: tells the toolkit how many threads the calling thread's operations may use.
    """

    def __init__(self, count: int, set_threads: Callable[[int], None]) -> None:
        self.count = count
        self._set_threads = set_threads
        self.alone()
        self._pool = ThreadPoolExecutor(count, "lane") if count > 1 else None

    def alone(self) -> None:
        """From here on the calling thread's own operations use one thread: they are many and small."""
        self._set_threads(1)

    def map(self, work: Callable[[C], R], chunks: Sequence[C]) -> list[R]:
        """The results in order. Whatever a chunk raises is raised when no chunk runs any more."""
        if self._pool is None:
            return [work(chunk) for chunk in chunks]
        threads = max(1, self.count // max(1, len(chunks)))
        futures = [self._pool.submit(self._run, work, chunk, threads) for chunk in chunks]
        wait(futures)
        return [future.result() for future in futures]

    def _run(self, work: Callable[[C], R], chunk: C, threads: int) -> R:
        self._set_threads(threads)
        return work(chunk)
