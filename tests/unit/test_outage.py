"""The wait of a worker that ends because a store is away."""

from __future__ import annotations

import threading

import pytest

from transcription_worker.errors import ClockError, ConfigurationError, RetryableError
from transcription_worker.outage import wait_out


def test_it_ends_when_the_store_answers(monkeypatch):
    monkeypatch.setattr("transcription_worker.outage.LOOK_SECONDS", 0.0)
    answers = [RetryableError("away")] * 3
    wait_out(lambda: answers.pop() if answers else None, until=threading.Event())
    assert answers == []


@pytest.mark.parametrize("error", [ClockError("off"), ConfigurationError("no such bucket")])
def test_what_does_not_pass_is_not_waited_for(error):
    asked = []
    wait_out(lambda: asked.append(1) or error, until=threading.Event())
    assert asked == [1]


def test_a_store_that_says_nothing_holds_up_no_drain_and_no_end(monkeypatch):
    silence, draining = threading.Event(), threading.Event()
    asked = threading.Event()

    def away():
        asked.set()
        silence.wait(60)

    drain = threading.Thread(target=lambda: asked.wait(60) and draining.set())
    drain.start()
    wait_out(away, until=draining)
    drain.join()
    monkeypatch.setattr("transcription_worker.outage.OUTAGE_SECONDS", 0.2)
    wait_out(away, until=threading.Event())
    assert not silence.is_set()
    silence.set()


def test_a_worker_that_drains_already_asks_nothing():
    draining = threading.Event()
    draining.set()
    wait_out(lambda: pytest.fail("asked"), until=draining)
