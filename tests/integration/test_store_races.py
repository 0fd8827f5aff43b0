"""Many workers, one key: exactly one wins, in S3 and in a directory, between processes as between threads."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.pool import Pool
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from tests.s3server import S3Server
from transcription_worker.errors import PreconditionFailed
from transcription_worker.store import Store, open_store
from transcription_worker.store.protocol import IfAbsent, IfMatch

RACERS = 16
ROUNDS = 40

_start: Barrier


def _join(start: Barrier, environment: dict[str, str]) -> None:
    global _start
    _start = start
    os.environ.update(environment)


def _race(uri: str, racer: int, rounds: int) -> list[list[bool]]:
    """Per round: whether this process was the one to create the key, and the one to replace its first version."""
    store = open_store(uri)
    results = []
    for number in range(rounds):
        key = f"claims/{number}"
        _start.wait(60)
        created = _wins(store, key, f"created by {racer}", None)
        _start.wait(60)
        found = store.head(key)
        assert found is not None
        _start.wait(60)
        replaced = _wins(store, key, f"replaced by {racer}, who is not the first", found.etag)
        results.append([created, replaced])
    return results


def _wins(store: Store, key: str, body: str, etag: str | None) -> bool:
    try:
        store.put(key, body.encode(), condition=IfAbsent() if etag is None else IfMatch(etag))
    except PreconditionFailed:
        return False
    return True


@pytest.fixture(scope="module")
def racers(s3: S3Server) -> Iterator[Pool]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["boto3", "transcription_worker.store.s3", "transcription_worker.store.local"])
    with context.Pool(RACERS, _join, (context.Barrier(RACERS), s3.environment)) as pool:
        yield pool


def race(racers: Pool, uri: str, rounds: int = ROUNDS) -> None:
    results = racers.starmap(_race, [(uri, racer, rounds) for racer in range(RACERS)], chunksize=1)
    store = open_store(uri)
    for number in range(rounds):
        creators = [racer for racer in range(RACERS) if results[racer][number][0]]
        replacers = [racer for racer in range(RACERS) if results[racer][number][1]]
        assert (len(creators), len(replacers)) == (1, 1), f"round {number}"
        body = store.get(f"claims/{number}").decode()
        assert body == f"replaced by {replacers[0]}, who is not the first"


@pytest.mark.s3
@pytest.mark.slow
def test_one_of_16_racing_processes_wins_in_s3(racers: Pool, s3_environment: S3Server, bucket: str) -> None:
    race(racers, f"s3://{bucket}/race")


@pytest.mark.s3
@pytest.mark.slow
def test_one_of_16_racing_processes_wins_in_a_directory(racers: Pool, tmp_path: Path) -> None:
    race(racers, str(tmp_path / "race"), rounds=200)
    left = {path.name for path in (tmp_path / "race" / "_transcription").iterdir()}
    assert left == {".lock"}


@pytest.mark.s3
def test_a_store_made_before_a_fork_works_on_both_sides(s3_environment: S3Server, bucket: str) -> None:
    store = open_store(f"s3://{bucket}/p")
    store.put("parent", b"1")
    child = os.fork()
    if child == 0:
        # The child must not run pytest's own ends.
        try:
            store.put("child", b"2")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert [found.key for found in store.list()] == ["child", "parent"]
