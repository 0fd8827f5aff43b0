"""The API server's time, whatever the machine's own clock does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from transcription_operator.server_clock import ServerClock

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


@dataclass
class Machine:
    """Two clocks of one machine, of which one jumps."""

    up: float = 1000.0
    wall: datetime = NOON + timedelta(days=3)

    def clock(self) -> ServerClock:
        return ServerClock(lambda: self.up, lambda: self.wall)


def date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


def test_the_api_servers_time_counts_from_its_first_answer_on():
    machine = Machine()
    clock = machine.clock()
    assert clock.now() == machine.wall
    clock.heard(date(NOON))
    machine.up += 90
    for days in (-40, 0, 40):
        machine.wall = NOON + timedelta(days=days)
        assert clock.now() == NOON + timedelta(seconds=90)


def test_answers_that_are_a_second_off_do_not_move_it():
    machine = Machine()
    clock = machine.clock()
    for late in (0, 1, -1, 2, 0):
        clock.heard(date(NOON + timedelta(seconds=late)))
        assert clock.now() == NOON


def test_it_follows_the_api_server_where_that_was_set_or_the_machine_slept():
    machine = Machine()
    clock = machine.clock()
    clock.heard(date(NOON))
    for moment in (NOON + timedelta(hours=8), NOON - timedelta(minutes=1)):
        clock.heard(date(moment))
        assert clock.now() == moment


@pytest.mark.parametrize("nonsense", [None, "", "soon", "Sun, 29 Nov 2026 12:00:00 -0000", "29 Nov 99999 12:00:00 GMT"])
def test_what_is_no_date_changes_nothing(nonsense):
    machine = Machine()
    clock = machine.clock()
    clock.heard(nonsense)
    assert clock.now() == machine.wall
    clock.heard(date(NOON))
    clock.heard(nonsense)
    assert clock.now() == NOON
