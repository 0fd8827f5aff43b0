"""When the feeder takes another shard: before the model has nothing left, and not much before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from transcription_worker.claims import WaitForModel
from transcription_worker.feed import Feeder
from transcription_worker.flow import Budget, WorkQueue


def wait_for_model(audio: Budget, batches_at_once: int) -> WaitForModel:
    settlement: Any = SimpleNamespace(in_hand=frozenset)
    feeder = Feeder(
        settlement=settlement,
        claims=None,
        read_shard=lambda shard: [],
        queue=WorkQueue(1),
        audio=audio,
        batch_seconds=lambda: 100.0,
        identity="0/pod",
        attempts=1,
        ended=lambda: False,
        blameless=lambda: True,
        batches_at_once=batches_at_once,
    )
    waits: list[WaitForModel] = []

    def takes(in_hand: Any, wait: WaitForModel, rest: Any) -> Any:
        waits.append(wait)
        return iter(())

    feeder.run(takes)
    return waits[0]


@pytest.mark.parametrize(("batches_at_once", "enough"), [(1, 150.0), (2, 250.0)])
def test_a_shard_is_taken_while_half_a_batch_waits_beside_those_in_the_model(
    batches_at_once: int, enough: float
) -> None:
    audio = Budget(1000.0)
    wait = wait_for_model(audio, batches_at_once)
    audio.take(enough)
    assert wait(1.5, 0.0)
    audio.take(1.0)
    assert not wait(1.5, 0.0)


@pytest.mark.parametrize("batches_at_once", [1, 2])
def test_others_are_backed_up_only_by_a_model_that_has_nothing_left(batches_at_once: int) -> None:
    audio = Budget(1000.0)
    wait = wait_for_model(audio, batches_at_once)
    assert wait(0.0, 0.0)
    audio.take(1.0)
    assert not wait(0.0, 0.0)
