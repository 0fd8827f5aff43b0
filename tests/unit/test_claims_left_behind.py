"""Shards of workers that are lost for good are taken up before the rest of the work."""

import json
import os
import random

import pytest

from tests.claims_setup import GIANT, LAYOUT, claims_of, nothing_in_hand
from transcription_worker.board import FEWEST_LIKE
from transcription_worker.claims import Taken
from transcription_worker.plan import Recording
from transcription_worker.store import open_store


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path))


class LooksBack(random.Random):
    """At every claim."""

    def random(self):
        return 0.0


def put_at(store, tmp_path, key, when, body=b"{}"):
    store.put(key, body)
    os.utime(tmp_path / key, (when, when))


def lost_and_others(store, tmp_path, others=12):
    """Worker 1 took shard 1 at 1,000 s and was lost; each of the next ones took somebody 10 s."""
    put_at(store, tmp_path, LAYOUT.claim(1, 0), 1_000.0, b'{"index": 1, "worker": "w1"}')
    for shard in range(2, 2 + others):
        put_at(store, tmp_path, LAYOUT.claim(shard, 0), 1_000.0, b'{"index": 2, "worker": "w2"}')
        put_at(store, tmp_path, LAYOUT.ledger(shard), 1_010.0)


def taken_at(store, tmp_path, now, **options):
    """What worker 0 takes while there are shards that nobody has, at a time of the store's."""
    put_at(store, tmp_path, LAYOUT.claim(30, 0), now, b'{"index": 2, "worker": "w2"}')
    taken = []
    for take in claims_of(store, 0, 3, 40, rng=LooksBack(0), **options).take(nothing_in_hand):
        if take.backup and not taken:
            return take
        taken.append(take.shard)
        put_at(store, tmp_path, LAYOUT.claim(take.shard, 0), now, b'{"index": 0, "worker": "w0"}')
        put_at(store, tmp_path, LAYOUT.ledger(take.shard), now)
        if len(taken) == 20:
            return None
    raise AssertionError("everything was taken")


def test_what_a_lost_worker_left_is_taken_up_before_the_rest_of_the_work(store, tmp_path):
    put_at(store, tmp_path, LAYOUT.claim(0, 0), 1_000.0)  # else its own comes first
    put_at(store, tmp_path, LAYOUT.ledger(0), 1_010.0)
    lost_and_others(store, tmp_path)
    assert taken_at(store, tmp_path, 1_100.0) == Taken(1, 1, backup=True)


def test_who_has_held_a_shard_for_no_longer_than_that_takes_is_left_alone(store, tmp_path):
    lost_and_others(store, tmp_path)
    assert taken_at(store, tmp_path, 1_080.0) is None


@pytest.mark.parametrize(("own", "its", "taken"), [(100.0, 100.0, True), (9.0, 100.0, False), (100.0, 9.0, False)])
def test_where_most_was_done_before_a_shard_that_was_not_is_given_its_time(store, tmp_path, own, its, taken):
    """Its like took no time at all; it should take as long as the plan says it does, at either speed."""
    put_at(store, tmp_path, LAYOUT.claim(0, 0), 1_000.0)
    put_at(store, tmp_path, LAYOUT.ledger(0), 1_010.0)
    lost_and_others(store, tmp_path)
    body = json.dumps({"index": 1, "worker": "w1", "speed": its}).encode()
    put_at(store, tmp_path, LAYOUT.claim(1, 0), 1_000.0, body)
    half_an_hour = Recording("a.wav", "e", 32_000 * 1_800)
    options = {"speed": lambda: own, "read_shard": lambda shard: [half_an_hour]}
    assert taken_at(store, tmp_path, 1_500.0, **options) == (Taken(1, 1, backup=True) if taken else None)


def test_who_has_heard_nothing_yet_takes_nobody_for_lost(store, tmp_path):
    put_at(store, tmp_path, LAYOUT.claim(0, 0), 1_000.0)
    put_at(store, tmp_path, LAYOUT.ledger(0), 1_010.0)
    lost_and_others(store, tmp_path)
    assert taken_at(store, tmp_path, 1_500.0, read_shard=lambda shard: [GIANT]) is None


def test_where_nobody_knows_how_long_such_shards_take_nobody_is_taken_for_lost(store, tmp_path):
    lost_and_others(store, tmp_path, others=FEWEST_LIKE - 1)
    assert taken_at(store, tmp_path, 1e6) is None


def test_an_announcement_says_that_somebody_is_at_it(store, tmp_path):
    put_at(store, tmp_path, LAYOUT.claim(0, 0), 1_000.0)
    put_at(store, tmp_path, LAYOUT.ledger(0), 1_010.0)
    lost_and_others(store, tmp_path)
    put_at(store, tmp_path, LAYOUT.announcement(1, 0, 7), 1_090.0)
    assert taken_at(store, tmp_path, 1_100.0) is None
