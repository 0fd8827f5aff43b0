"""Sharing a plan through a store: every shard is worked, whoever dies."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.claims_setup import GIANT, LAYOUT, claims_of, finish, nothing_in_hand
from transcription_worker.claims import CLAIM_AT_BATCHES, IDLE_LOOK_SECONDS, Taken, fixed_split
from transcription_worker.flow import Finished
from transcription_worker.store import open_store


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path))


def test_a_lone_worker_takes_every_shard_once_starting_with_its_own(store):
    taken = []
    for take in claims_of(store, 0, 1, 6).take(nothing_in_hand):
        taken.append(take)
        finish(store, take)
    assert taken[0] == Taken(0, 0)
    assert sorted(t.shard for t in taken) == list(range(6))
    assert not any(t.backup or t.careful for t in taken)


def test_workers_at_once_never_claim_a_shard_twice(store):
    def work(index):
        mine = []
        for take in claims_of(store, index, 4, 40).take(nothing_in_hand):
            finish(store, take)
            if not take.backup:
                mine.append(take.shard)
        return mine

    with ThreadPoolExecutor(4) as pool:
        shards = [shard for mine in pool.map(work, range(4)) for shard in mine]
    assert sorted(shards) == list(range(40))


def test_a_successor_inherits_what_its_predecessor_left(store):
    dead = claims_of(store, 1, 2, 4).take(nothing_in_hand)
    first = next(dead)
    heir = claims_of(store, 1, 2, 4, life=2).take(nothing_in_hand)
    assert next(heir) == Taken(first.shard, 1, careful=True)


def test_another_index_backs_up_what_a_lost_worker_left(store):
    lost = next(claims_of(store, 1, 2, 3).take(nothing_in_hand))
    taken = []
    for take in claims_of(store, 0, 2, 3).take(nothing_in_hand):
        taken.append(take)
        finish(store, take)
    assert taken[-1] == Taken(lost.shard, 1, backup=True)
    assert sorted(t.shard for t in taken) == [0, 1, 2]


def test_a_worker_does_not_back_up_what_is_in_its_own_hand(store):
    in_hand = set()
    takes = []
    for take in claims_of(store, 0, 1, 3).take(lambda: frozenset(in_hand)):
        takes.append(take)
        in_hand.add(take.shard)
    assert sorted(t.shard for t in takes) == [0, 1, 2]


def test_a_backup_of_a_shard_that_takers_died_on_is_careful(store):
    for life in (1, 2):
        next(claims_of(store, 1, 2, 2, life=life).take(nothing_in_hand))
    finish(store, Taken(0, 0))
    assert next(claims_of(store, 0, 2, 2).take(nothing_in_hand)) == Taken(1, 2, careful=True, backup=True)


def test_deaths_are_counted_by_life_and_never_of_the_living(store):
    shard = Taken(0, 1, careful=True)
    for life in (1, 2):
        claims_of(store, 0, 3, 1, life=life).announce(Taken(0, life, careful=True), 7)
    claims_of(store, 1, 3, 1).announce(Taken(0, 3, careful=True), 7)
    claims_of(store, 1, 3, 1).announce(Taken(0, 3, careful=True), 8)

    def deaths(of):
        return {line: of.deaths(keys) for line, keys in of.announcements(shard).items()}

    assert deaths(claims_of(store, 0, 3, 1, life=3)) == {7: 2, 8: 0}
    assert deaths(claims_of(store, 0, 3, 1, life=2)) == {7: 1, 8: 0}
    assert deaths(claims_of(store, 2, 3, 1)) == {7: 1, 8: 0}


def test_an_announcement_withdrawn_and_a_claim_handed_back_leave_no_trace(store):
    first = claims_of(store, 0, 1, 1)
    taken = next(first.take(nothing_in_hand))
    first.announce(taken, 0)
    first.withdraw(taken, 0)
    first.hand_back(taken)
    second = claims_of(store, 0, 1, 1, life=2)
    assert second.announcements(taken) == {}
    assert next(second.take(nothing_in_hand)) == Taken(0, 0)


def test_what_others_put_beside_the_claims_is_passed_over(store):
    store.put(f"{LAYOUT.claims}notes.txt", b"hello")
    store.put(f"{LAYOUT.ledgers}README.md", b"hello")
    assert next(claims_of(store, 0, 1, 1).take(nothing_in_hand)) == Taken(0, 0)


def test_a_claim_says_who_took_it(store):
    next(claims_of(store, 5, 6, 9).take(nothing_in_hand))
    assert json.loads(store.get(LAYOUT.claim(5, 0))) == {"index": 5, "worker": "w5", "speed": 0.0}


def test_fixed_split_gives_every_shard_to_one_index():
    shards = [t.shard for index in range(3) for t in fixed_split(index=index, workers=3, shards=10)]
    assert sorted(shards) == list(range(10))


@pytest.mark.parametrize("indexes", [3, 7])
def test_fixed_split_gives_nothing_to_indexes_beyond_its_workers(indexes):
    shards = [t.shard for index in range(indexes) for t in fixed_split(index=index, workers=3, shards=10)]
    assert sorted(shards) == list(range(10))


def test_indexes_beyond_the_workers_claim_like_all_others(store):
    def work(index):
        mine = []
        for take in claims_of(store, index, 2, 40).take(nothing_in_hand):
            finish(store, take)
            if not take.backup:
                mine.append(take.shard)
        return mine

    with ThreadPoolExecutor(4) as pool:
        claimed = list(pool.map(work, range(4)))
    assert sorted(shard for mine in claimed for shard in mine) == list(range(40))


def waits(told):
    def wait_for_model(batches, seconds=None):
        told.append(batches)
        return True

    return wait_for_model


def test_a_worker_whose_shards_were_finished_by_others_ends_when_all_are(store):
    mine = claims_of(store, 0, 2, 3)
    held = next(mine.take(nothing_in_hand)).shard
    mine.refuse_vain_work(frozenset({held}))
    finish(store, Taken(held, 1))
    mine.refuse_vain_work(frozenset({held}))  # others still have something to do
    for shard in {0, 1, 2} - {held}:
        finish(store, Taken(shard, 0))
    with pytest.raises(Finished):
        mine.refuse_vain_work(frozenset({held}))


def test_a_model_that_is_busy_for_long_looks_whether_that_is_in_vain(store):
    takes = claims_of(store, 0, 2, 3).take(lambda: frozenset({0}), lambda batches, seconds=None: False)
    assert next(takes) == Taken(0, 0)
    for shard in range(3):
        finish(store, Taken(shard, 1))
    with pytest.raises(Finished):
        next(takes)


def test_a_worker_claims_when_its_model_is_nearly_through_and_backs_up_when_it_has_nothing_else(store):
    lost = next(claims_of(store, 1, 2, 4).take(nothing_in_hand))
    told = []
    for take in claims_of(store, 0, 2, 4).take(nothing_in_hand, waits(told)):
        finish(store, take)
        told.append(take.backup)
    assert lost.shard == 1
    assert told == [*[False, CLAIM_AT_BATCHES] * 3, 0.0, True, 0.0]


def rests_before_a_third_takes(store, speed, recordings):
    """Workers 1 and 2, at 100 and 80 audio seconds per second, have taken shard 0 when worker 0 has nothing else."""
    for index, at in ((1, 100.0), (2, 80.0)):
        takes = claims_of(store, index, 3, 1, speed=lambda at=at: at, read_shard=lambda _: recordings).take
        next(takes(nothing_in_hand))
    rests = []
    third = claims_of(store, 0, 3, 1, speed=lambda: speed, read_shard=lambda _: recordings)
    takes = third.take(nothing_in_hand, rest=rests.append)
    assert next(takes) == Taken(0, 2, careful=True, backup=True)
    return sum(rests)


def test_a_long_recording_is_left_to_two_who_are_as_quick_for_as_long_as_it_takes_oneself(store):
    assert rests_before_a_third_takes(store, 120.0, [GIANT]) == pytest.approx(36_000 / 120, abs=IDLE_LOOK_SECONDS)


@pytest.mark.parametrize(("speed", "recordings"), [(131.0, [GIANT]), (0.0, [GIANT]), (100.0, [GIANT] * 5)])
def test_who_is_quicker_or_does_not_know_or_finds_something_to_share_takes_it_at_once(store, speed, recordings):
    assert rests_before_a_third_takes(store, speed, recordings) == 0


def test_takers_who_do_not_say_how_quick_they_are_are_taken_for_as_quick(store):
    """Who claims before its first batch does not know."""
    for index in (1, 2):
        next(claims_of(store, index, 3, 1, read_shard=lambda _: [GIANT]).take(nothing_in_hand))
    rests = []
    third = claims_of(store, 0, 3, 1, speed=lambda: 100.0, read_shard=lambda _: [GIANT])
    assert next(third.take(nothing_in_hand, rest=rests.append)) == Taken(0, 2, careful=True, backup=True)
    assert sum(rests) == pytest.approx(36_000 / 100, abs=IDLE_LOOK_SECONDS)


def take_all(store, claims, rests):
    """Shards in the order in which they were taken and finished, and the seconds rested before each."""
    taken = []
    for take in claims.take(nothing_in_hand, rest=rests.append):
        taken.append((take.shard, sum(rests)))
        finish(store, take)
    return taken


def two_take_each(store, shards, read_shard):
    for index in (1, 2):
        for shard in range(shards):
            body = json.dumps({"index": index, "worker": f"w{index}", "speed": 100.0}).encode()
            store.put(LAYOUT.claim(shard, index - 1), body)
    return claims_of(store, 0, 3, shards, speed=lambda: 100.0, read_shard=read_shard)


def test_patience_with_one_long_recording_is_patience_with_all_of_them(store):
    rests = []
    last = two_take_each(store, 3, lambda _: [GIANT])
    taken = take_all(store, last, rests)
    assert sorted(shard for shard, _ in taken) == [0, 1, 2]
    assert [rested for _, rested in taken] == [pytest.approx(36_000 / 100, abs=IDLE_LOOK_SECONDS)] * 3


def test_what_can_be_shared_is_taken_before_anybody_rests(store):
    rests = []
    last = two_take_each(store, 4, lambda shard: [GIANT] * (5 if shard == 2 else 1))
    assert take_all(store, last, rests)[0] == (2, 0)
    assert rests


def test_a_dead_predecessor_is_none_of_the_two_that_a_long_recording_is_left_to(store):
    for index, life in ((0, 1), (1, 1)):
        next(claims_of(store, index, 2, 1, life=life, speed=lambda: 100.0).take(nothing_in_hand))
    rests = []
    heir = claims_of(store, 0, 2, 1, life=2, speed=lambda: 100.0, read_shard=lambda _: [GIANT])
    assert next(heir.take(nothing_in_hand, rest=rests.append)) == Taken(0, 2, careful=True, backup=True)
    assert not rests


def test_a_worker_that_leaves_a_long_recording_to_others_sees_when_they_have_done_it(store):
    for index in (1, 2):
        next(claims_of(store, index, 3, 1, speed=lambda: 100.0).take(nothing_in_hand))
    third = claims_of(store, 0, 3, 1, speed=lambda: 100.0, read_shard=lambda _: [GIANT])
    assert list(third.take(nothing_in_hand, rest=lambda seconds: finish(store, Taken(0, 0)))) == []


def test_a_lone_worker_claims_without_waiting(store):
    told = []
    for take in claims_of(store, 0, 1, 3).take(nothing_in_hand, waits(told)):
        finish(store, take)
    assert told == [0.0]


def test_a_worker_leaves_the_shards_that_others_begin_with_to_them_for_a_while(store):
    taken = []
    for take in claims_of(store, 2, 3, 12).take(nothing_in_hand):
        taken.append(take.shard)
        finish(store, take)
    assert taken[0] == 2
    assert {0, 1}.isdisjoint(taken[1:3])
    assert sorted(taken) == list(range(12))


def test_an_index_that_nobody_had_before_reads_no_claim_of_others(store):
    for shard in (0, 1, 3):
        store.put(LAYOUT.claim(shard, 0), b"not to be read")
    assert next(claims_of(store, 2, 9, 9).take(nothing_in_hand)) == Taken(2, 0)
