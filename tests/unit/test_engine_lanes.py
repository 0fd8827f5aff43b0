"""Chunks of a batch: every row once, bounded, enough of them for all lanes; what a lane raises comes out."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcription_worker.engines.lanes import Lanes, cut

rows = st.lists(st.integers(1, 600), min_size=1, max_size=60)


@given(rows, st.integers(0, 2000), st.integers(1, 16))
def test_every_row_is_in_one_chunk_and_no_chunk_is_larger_than_allowed(sizes, limit, lanes):
    chunks = cut(sizes, limit=limit, lanes=lanes)
    assert sorted(i for chunk in chunks for i in chunk) == list(range(len(sizes)))
    for chunk in chunks:
        assert len(chunk) == 1 or max(sizes[i] for i in chunk) * len(chunk) <= limit


@given(rows, st.integers(1, 16))
def test_the_longest_row_comes_first_and_chunks_hold_rows_of_like_length(sizes, lanes):
    chunks = cut(sizes, limit=600, lanes=lanes)
    lengths = [sizes[i] for chunk in chunks for i in chunk]
    assert lengths == sorted(sizes, reverse=True)


def test_rows_of_one_length_keep_all_lanes_busy():
    assert [len(chunk) for chunk in cut([30] * 8, limit=240, lanes=4)] == [2, 2, 2, 2]
    assert [len(chunk) for chunk in cut([30] * 4, limit=60, lanes=16)] == [1, 1, 1, 1]


def test_one_lane_takes_rows_of_any_length_in_one_chunk():
    assert cut([30, 29, 28, 5], limit=10**9, lanes=1) == [[0, 1, 2, 3]]


def test_chunks_run_at_the_same_time_and_results_keep_their_order():
    both_run = threading.Barrier(2, timeout=30)

    def work(chunk: int) -> int:
        both_run.wait()
        return 10 * chunk

    assert Lanes(2, lambda threads: None).map(work, [1, 2]) == [10, 20]


@pytest.mark.parametrize(("count", "chunks", "threads"), [(4, 1, 4), (4, 2, 2), (4, 9, 1), (4, 3, 1)])
def test_threads_without_a_chunk_of_their_own_help_with_the_others(count, chunks, threads):
    told = []
    Lanes(count, told.append).map(lambda chunk: chunk, range(chunks))
    assert told == [1] + [threads] * chunks


@pytest.mark.parametrize("count", [1, 3])
def test_what_a_chunk_raises_is_raised(count):
    def work(chunk: int) -> int:
        if chunk == 1:
            raise MemoryError("too large")
        return chunk

    lanes = Lanes(count, lambda threads: None)
    with pytest.raises(MemoryError, match="too large"):
        lanes.map(work, [0, 1, 2])
    assert lanes.map(work, [0, 2]) == [0, 2]
