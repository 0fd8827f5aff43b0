"""The bounded queues: they bound, they let go, they lose nothing."""

import threading

import pytest

from transcription_worker.flow import Budget, Stopped, WorkQueue


def in_thread(call):
    done = threading.Event()
    result = []

    def run():
        try:
            result.append(call())
        except Stopped as stopped:
            result.append(stopped)
        done.set()

    threading.Thread(target=run, daemon=True).start()
    return done, result


def test_budget_makes_the_next_one_wait_until_there_is_room():
    budget = Budget(10)
    budget.acquire(8)
    done, _ = in_thread(lambda: budget.acquire(3))
    assert not done.wait(0.05)
    budget.release(8)
    assert done.wait(5)
    assert budget.used == 3


def test_a_limit_that_grew_lets_who_waits_through_at_the_next_release():
    limit = [10.0]
    budget = Budget(lambda: limit[0])
    budget.acquire(10)
    done, _ = in_thread(lambda: budget.acquire(5))
    limit[0] = 20.0
    budget.release(1)
    assert done.wait(5)
    assert budget.used == 14


def test_an_item_larger_than_the_budget_goes_alone():
    budget = Budget(10)
    budget.acquire(50)
    done, _ = in_thread(lambda: budget.acquire(1))
    assert not done.wait(0.05)
    budget.release(50)
    assert done.wait(5)


def test_small_items_do_not_overtake_a_large_one_that_waits():
    budget = Budget(10)
    budget.acquire(6)
    large, _ = in_thread(lambda: budget.acquire(9))
    assert not large.wait(0.05)
    small, _ = in_thread(lambda: budget.acquire(2))
    assert not small.wait(0.05)
    budget.release(6)
    assert large.wait(5)
    budget.release(9)
    assert small.wait(5)


def test_who_may_not_wait_takes_what_is_not_there_and_others_wait_for_it():
    budget = Budget(2)
    budget.take(5)
    done, _ = in_thread(lambda: budget.wait_until(2))
    assert not done.wait(0.05)
    budget.release(3)
    assert done.wait(5)


def test_stopping_a_budget_frees_who_waits():
    budget = Budget(1)
    budget.acquire(1)
    done, result = in_thread(lambda: budget.acquire(1))
    budget.stop()
    assert done.wait(5)
    assert isinstance(result[0], Stopped)


def test_budget_is_given_back_when_the_block_fails():
    budget = Budget(1)
    with pytest.raises(ValueError), budget.hold(1):
        raise ValueError
    assert budget.used == 0


def test_queue_keeps_order_and_ends_when_closed():
    queue = WorkQueue[str](5)
    for item in "abc":
        queue.put(item)
    queue.close()
    assert [queue.get(), queue.get(), queue.get(), queue.get()] == ["a", "b", "c", None]


def test_queue_bounds_new_items_but_never_retries():
    queue = WorkQueue[str](1)
    queue.put("a")
    done, _ = in_thread(lambda: queue.put("b"))
    assert not done.wait(0.05)
    queue.put_back("retry", 0.0)
    assert queue.get() == "retry"
    assert not done.wait(0.05)
    assert queue.get() == "a"
    assert done.wait(5)


def test_a_retry_comes_out_when_it_is_due_even_after_closing():
    queue = WorkQueue[str](1)
    queue.put_back("later", 0.05)
    queue.close()
    assert queue.get() == "later"
    assert queue.get() is None


def test_a_retry_that_is_due_comes_before_what_is_new():
    queue = WorkQueue[str](5)
    queue.put("new")
    queue.put_back("retry", 0.0)
    assert [queue.get(), queue.get()] == ["retry", "new"]


def test_stopping_a_queue_frees_getters_and_putters():
    queue = WorkQueue[str](1)
    queue.put("a")
    putter, result = in_thread(lambda: queue.put("b"))
    queue.stop()
    assert putter.wait(5)
    assert isinstance(result[0], Stopped)
    assert queue.get() is None
