"""Batches: bounded, of like length, nothing starves, nothing is lost."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from transcription_worker.batch import SegmentPool, choose_batch


@dataclass(frozen=True)
class Item:
    seconds: float


lengths = st.lists(st.floats(0.1, 60), min_size=1, max_size=40).map(sorted)


@given(lengths, st.data(), st.floats(1, 300))
def test_a_batch_holds_the_oldest_and_stays_within_its_limit(sorted_lengths, data, limit):
    oldest = data.draw(st.integers(0, len(sorted_lengths) - 1))
    first, end = choose_batch(sorted_lengths, oldest, limit)
    assert first <= oldest < end
    assert end - first == 1 or sorted_lengths[end - 1] * (end - first) <= limit


@given(lengths, st.floats(1, 300))
def test_every_segment_comes_out_once(items, limit):
    pool = SegmentPool[Item](limit)
    for seconds in items:
        pool.put(Item(seconds))
    taken = []
    while len(taken) < len(items):
        batch = pool.take()
        assert batch == sorted(batch, key=lambda i: -i.seconds)
        taken += [item.seconds for item in batch]
    assert sorted(taken) == items


def test_segments_of_like_length_go_together():
    pool = SegmentPool[Item](30)
    for seconds in (10, 1, 10, 1, 10, 1):
        pool.put(Item(seconds))
    assert [i.seconds for i in pool.take()] == [10, 10, 10]


def test_a_row_counts_as_a_second_at_least():
    pool = SegmentPool[Item](10)
    for _ in range(50):
        pool.put(Item(0.05))
    assert len(pool.take()) == 10


def test_a_closed_pool_gives_nothing_more():
    pool = SegmentPool[Item](30)
    pool.put(Item(1))
    pool.close()
    assert pool.take() == []
