"""The fleet in virtual time, in its small form; the figures of the large one stand in docs/fleet.md."""

import json
from collections import Counter

import pytest

from tests.simulation.fleet import Fleet, Scenario, capacity_bound
from transcription_worker.layout import output_key
from transcription_worker.outcome import State

HARD = Scenario(recordings=1500, workers=8, giants=0, deaths=8, lost=1, freezes=2, late=1)


@pytest.fixture(scope="module")
def hard():
    fleet = Fleet(HARD)
    return fleet, fleet.play()


def test_each_recording_has_one_outcome_and_one_transcript_whoever_dies_freezes_or_comes_late(hard):
    fleet, result = hard
    assert Counter(outcome.key for outcome in result.outcomes) == Counter(fleet.durations.keys())
    assert {outcome.state for outcome in result.outcomes} == {State.DONE}
    for outcome in result.outcomes:
        committed = fleet.bucket.head(output_key(outcome.key, "json"))
        assert committed and committed.etag == outcome.output_etag
    assert result.lives > HARD.workers
    assert result.heard_seconds >= result.audio_seconds


def test_deaths_cost_little_of_the_fleet_s_time(hard):
    _, result = hard
    assert 1 <= result.ratio < 1.1
    assert result.doubled < 0.1
    assert result.beside < 3 * HARD.recordings


def test_a_quiet_fleet_ends_together():
    result = Fleet(Scenario(recordings=600, workers=4, giants=0)).play()
    assert 1 <= result.ratio < 1.05
    assert result.last_exit / result.bound < 1.1
    assert result.expected <= result.last_exit <= result.expected + result.tail
    assert result.doubled < 0.03
    assert len(result.outcomes) == 600


def test_estimates_that_are_wrong_by_a_hundred_times_cost_time_and_no_recording():
    fleet = Fleet(Scenario(recordings=1500, workers=8, giants=2, deaths=4, lost=1, misjudged=100.0))
    result = fleet.play()
    assert Counter(outcome.key for outcome in result.outcomes) == Counter(fleet.durations.keys())
    assert {outcome.state for outcome in result.outcomes} == {State.DONE}
    assert result.makespan <= result.expected + 2 * result.tail


def test_the_same_seed_is_the_same_run():
    scenario = Scenario(recordings=150, workers=3, giants=0, deaths=2, freezes=1, seed=7)
    first, second = Fleet(scenario).play(), Fleet(scenario).play()
    assert (first.makespan, first.heard_seconds, first.meter) == (second.makespan, second.heard_seconds, second.meter)


def test_workers_that_start_at_one_moment_find_the_shards_that_they_begin_with():
    fleet = Fleet(Scenario(recordings=1000, workers=100, giants=0))
    fleet.play(until=0.5)
    takers = [json.loads(fleet.bucket.get(fleet.layout.claim(shard, 0)))["index"] for shard in range(100)]
    assert sum(taker == shard for shard, taker in enumerate(takers)) >= 95


def test_the_bound_is_when_those_who_could_work_were_through():
    always, late, pause = (0.0, 1e9, 2.0), (10.0, 1e9, 3.0), (20.0, 30.0, -2.0)
    assert capacity_bound([always], 30) == 15
    assert capacity_bound([always, late], 20 + 25) == 15
    assert capacity_bound([always, late, pause], 20 + 50 + 30 + 5) == 31
    assert capacity_bound([(0.0, 5.0, 2.0), late], 10 + 6) == 12
