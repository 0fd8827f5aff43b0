"""Whole jobs over a store that misbehaves, in their short form; `python -m tests.chaos.store` is the long one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.lives import zygote
from tests.chaos.store_faults import Asked, Kind, at_random
from tests.chaos.store_job import Expiry, Grounds, Outage, Played
from tests.s3server import S3Server
from transcription_worker.errors import ExitCode

pytestmark = [pytest.mark.s3, pytest.mark.model, pytest.mark.slow]

RECORDINGS = 12
SEED = 1
RATE = 0.02
"""Of each kind, for each request."""


@pytest.fixture(scope="module")
def grounds(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounds]:
    folder = tmp_path_factory.mktemp("store")
    with zygote(folder / "zygote") as forks:
        yield Grounds(s3, forks, folder / "jobs", RECORDINGS, SEED)


def words_of(played: Played, status: ExitCode) -> set[str]:
    return {ending.words for ending in played.endings if ending.status == status}


def test_faults_at_random_lose_nothing_and_change_no_transcript(grounds: Grounds) -> None:
    played = grounds.play("random", at_random(SEED, {kind: RATE for kind in Kind if kind.passes}))
    print(f"{played.weather.injected.total()} faults in {played.weather.requests} requests, seed {SEED}")
    assert played.faults == []
    assert played.weather.injected.total() > 10


def test_what_a_person_must_mend_ends_the_job_and_nothing_is_lost_when_it_is_mended(grounds: Grounds) -> None:
    expiry = Expiry(Kind.EXPIRED, grounds.calm.requests // 2)
    played = grounds.play("expired", expiry.choose, heal=expiry.mend)
    assert played.faults == []
    words = words_of(played, ExitCode.CONFIGURATION)
    ending = "has expired (ExpiredToken); renew the Secret named in spec.storage.credentialsSecret."
    assert words and all(said.endswith(ending) for said in words)


def test_an_input_that_is_away_is_no_failure_of_its_recordings(grounds: Grounds) -> None:
    """With one attempt for each recording: there is nothing else that would spare them."""
    policy = {"attemptsPerRecording": 1, "maxFailedRecordings": "50%"}
    outage = Outage(Kind.RESET, Asked.GET, 5, 12.0, "in/")
    played = grounds.play("input away", outage.choose, failurePolicy=policy)
    assert played.faults == []
    assert any("check that the store is up" in said for said in words_of(played, ExitCode.RETRYABLE))


def test_a_store_that_answers_503_for_a_minute_costs_no_recording(grounds: Grounds) -> None:
    outage = Outage(Kind.SLOW_DOWN, Asked.GET, 5, 60.0)
    played = grounds.play("all away", outage.choose)
    print(f"{played.seconds:.0f} s, {played.weather.injected.total()} refusals, exits {dict(played.statuses)}")
    assert played.faults == []
    assert played.weather.injected.total() > 10
    assert set(played.statuses) == {ExitCode.OK, ExitCode.RETRYABLE}
