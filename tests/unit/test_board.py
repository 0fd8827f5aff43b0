"""What listings of claims and ledgers say."""

import pytest

from tests.claims_setup import LAYOUT
from transcription_worker.board import Held
from transcription_worker.store import open_store


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path))


def held(begun, ended, now):
    return Held(dict.fromkeys(begun, 1), frozenset(), begun, ended, now)


def test_listings_of_neighbours_find_every_claim_however_many_shards(store):
    shards = [0, 999, 1000, 99_999, 100_000, 123_456]
    for shard in shards:
        store.put(LAYOUT.claim(shard, 0), b"{}")
        store.put(LAYOUT.ledger(shard), b"")
    for shard in shards:
        assert LAYOUT.claim(shard, 0) in {info.key for info in store.list(LAYOUT.claims_beside(shard))}
        assert LAYOUT.ledger(shard) in {info.key for info in store.list(LAYOUT.ledgers_beside(shard))}
    assert len(list(store.list(LAYOUT.claims_beside(999)))) == 2


def test_one_that_took_long_is_no_measure_for_all():
    begun = dict.fromkeys(range(30), 0.0)
    ended = {**dict.fromkeys(range(1, 29), 10.0), 29: 5_000.0}
    assert held(begun, ended, 100.0).left_behind(reach=30) == [0]


@pytest.mark.parametrize(("reach", "behind"), [(6, []), (8, [0, 9])])
def test_so_many_of_a_shards_neighbours_must_be_finished(reach, behind):
    finished = dict.fromkeys(range(1, 9), 1.0)
    assert held(dict.fromkeys(range(10), 0.0), finished, 1e6).left_behind(reach=reach) == behind
