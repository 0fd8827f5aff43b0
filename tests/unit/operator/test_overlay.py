"""Own writes hide older watched states until the watch has caught up, and not for ever."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from transcription_operator.overlay import ECHO_SECONDS, Overlay


@dataclass(frozen=True)
class Item:
    version: int
    uid: str = "u"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_write_hides_the_older_watched_state():
    overlay = Overlay()
    overlay.wrote("a", Item(5))
    assert overlay.newest("a", Item(4)) == Item(5)
    assert overlay.newest("a", None) == Item(5)


def test_the_watch_wins_once_it_has_caught_up():
    overlay = Overlay()
    overlay.wrote("a", Item(5))
    assert overlay.newest("a", Item(6)) == Item(6)
    assert overlay.newest("a", None) is None


def test_versions_are_compared_as_numbers():
    overlay = Overlay()
    overlay.wrote("a", Item(10))
    assert overlay.newest("a", Item(9)) == Item(10)


def test_what_was_deleted_is_gone_though_the_watch_still_shows_it():
    overlay = Overlay()
    overlay.deleted("u")
    assert overlay.newest("a", Item(9)) is None
    assert overlay.newest("a", Item(9, uid="v")) == Item(9, uid="v")


def test_an_echo_that_never_comes_is_forgotten():
    clock = Clock()
    overlay = Overlay(clock)
    overlay.wrote("a", Item(5))
    overlay.deleted("w")
    clock.now = ECHO_SECONDS + 1
    assert overlay.newest("a", None) is None
    assert overlay.newest("b", Item(1, uid="w")) == Item(1, uid="w")


def test_a_write_that_is_repeated_lives_from_the_last_one_on():
    clock = Clock()
    overlay = Overlay(clock)
    overlay.wrote("a", Item(5))
    clock.now = ECHO_SECONDS - 1
    overlay.wrote("b", Item(6))
    overlay.wrote("a", Item(7))
    clock.now = ECHO_SECONDS + 1
    assert overlay.newest("a", None) == Item(7) and overlay.newest("b", None) == Item(6)


def test_threads_may_write_while_another_reads():
    """Actions are carried out in threads: an overlay that is read meanwhile once raised RuntimeError."""
    overlay = Overlay()
    ended = threading.Event()

    def write(thread: int) -> None:
        number = 0
        while not ended.is_set():
            number += 1
            overlay.wrote(f"{thread}-{number}", Item(number))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(200):
            overlay.newest("1-1", None)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
