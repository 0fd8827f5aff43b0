"""Batches: bounded, of like length, nothing starves, nothing is lost."""

from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcription_worker.batch import LINGER_SECONDS, MOST_ROWS, QUICK_SECONDS, BatchSize, SegmentPool, choose_batch


@dataclass(frozen=True)
class Item:
    seconds: float


def pool_of(seconds):
    return SegmentPool[Item](BatchSize(seconds, seconds))


lengths = st.lists(st.floats(0.1, 60), min_size=1, max_size=40).map(sorted)


@given(lengths, st.data(), st.floats(1, 300))
def test_a_batch_holds_the_oldest_and_stays_within_its_limit(sorted_lengths, data, limit):
    oldest = data.draw(st.integers(0, len(sorted_lengths) - 1))
    first, end = choose_batch(sorted_lengths, oldest, limit)
    assert first <= oldest < end
    assert end - first == 1 or sorted_lengths[end - 1] * (end - first) <= limit


@given(lengths, st.floats(1, 300))
def test_every_segment_comes_out_once(items, limit):
    pool = pool_of(limit)
    for seconds in items:
        pool.put(Item(seconds))
    taken = []
    while len(taken) < len(items):
        batch = pool.take()
        pool.done()
        assert batch == sorted(batch, key=lambda i: -i.seconds)
        taken += [item.seconds for item in batch]
    assert sorted(taken) == items


def test_segments_of_like_length_go_together():
    pool = pool_of(30)
    for seconds in (10, 1, 10, 1, 10, 1):
        pool.put(Item(seconds))
    assert [i.seconds for i in pool.take()] == [10, 10, 10]


def test_a_batch_has_only_so_many_rows():
    """And one that has as many is full: it waits for no more."""
    pool = pool_of(2 * MOST_ROWS)
    for _ in range(MOST_ROWS):
        pool.put(Item(1.0))
    under_way = pool.take()
    assert len(under_way) == MOST_ROWS
    for _ in range(MOST_ROWS + 1):
        pool.put(Item(1.0))
    assert len(pool.take()) == MOST_ROWS, "while the one before is in the model"


def test_a_row_counts_as_a_second_at_least():
    pool = pool_of(10)
    for _ in range(50):
        pool.put(Item(0.05))
    assert len(pool.take()) == 10


def test_a_closed_pool_gives_nothing_more():
    pool = pool_of(30)
    pool.put(Item(1))
    pool.close()
    assert pool.take() == []


def test_a_batch_that_is_not_full_waits_while_another_is_in_the_model():
    pool = pool_of(10)
    for seconds in (10, 4):
        pool.put(Item(seconds))
    assert pool.take() == [Item(10)]
    with ThreadPoolExecutor(2) as takers:
        second = takers.submit(pool.take)
        with pytest.raises(TimeoutError):
            second.result(5 * LINGER_SECONDS)
        pool.put(Item(4))
        with pytest.raises(TimeoutError):
            second.result(5 * LINGER_SECONDS)
        pool.done()
        assert second.result(30) == [Item(4), Item(4)]


def test_a_full_batch_does_not_wait_for_the_one_in_the_model():
    pool = pool_of(10)
    for seconds in (10, 10):
        pool.put(Item(seconds))
    assert pool.take() == pool.take() == [Item(10)]


def test_two_takers_of_one_segment_share_no_batch():
    pool = pool_of(10)
    with ThreadPoolExecutor(2) as takers:
        both = [takers.submit(pool.take) for _ in range(2)]
        pool.put(Item(1))
        first, other = wait(both, timeout=30, return_when=FIRST_COMPLETED)
        assert [f.result() for f in first] == [[Item(1)]]
        pool.close()
        assert [f.result(30) for f in other] == [[]]


def test_full_quick_batches_grow_to_the_largest_and_no_further():
    size = BatchSize(100, 350)
    grown = []
    for _ in range(4):
        size.took(size.seconds, QUICK_SECONDS / 2)
        grown.append(size.seconds)
    assert grown == [200, 350, 350, 350]


@pytest.mark.parametrize(("audio", "wall"), [(100, 2 * QUICK_SECONDS), (20, QUICK_SECONDS / 2)])
def test_a_slow_batch_and_one_that_was_not_full_change_nothing(audio, wall):
    size = BatchSize(100, 350)
    size.took(audio, wall)
    assert size.seconds == 100


def took_at(size, speeds, trials=20):
    """Full batches on a device that makes so many audio seconds per second at each size."""
    for _ in range(trials):
        size.took(size.seconds, size.seconds / speeds[size.seconds])
    return size.seconds


@pytest.mark.parametrize(
    ("speeds", "settles"),
    [
        ({100: 400, 200: 800, 400: 900, 800: 920}, 400),  # the last doubling gained 2 %
        ({100: 400, 200: 800, 400: 810}, 200),
        ({100: 400, 200: 800, 400: 900, 800: 960}, 800),  # as large as it may be
        ({100: 400, 200: 130}, 200),  # slower than one that is sure: nobody asks, and it is no longer quick
    ],
)
def test_beyond_what_is_sure_a_size_is_kept_where_it_gains(speeds, settles):
    size = BatchSize(100, 800, sure=200)
    assert took_at(size, speeds) == settles
    assert took_at(size, {**speeds, settles: speeds[settles] / 2}) == settles, "settled is settled"


def test_one_slow_batch_is_no_measure():
    size = BatchSize(100, 400, sure=100)
    for speed in (800, 800, 800):
        size.took(size.seconds, size.seconds / speed)
    assert size.seconds == 200
    for speed in (500, 900, 600):
        size.took(size.seconds, size.seconds / speed)
    assert size.seconds == 400


def test_what_did_not_fit_is_not_tried_again():
    size = BatchSize(100, 350)
    size.took(100, 0.1)
    size.did_not_fit(200)
    size.took(100, 0.1)
    assert size.seconds == 100


def test_a_given_size_stays():
    size = BatchSize(100, 100)
    size.took(100, 0.1)
    assert size.seconds == 100
