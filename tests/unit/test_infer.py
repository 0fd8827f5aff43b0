"""Failures of the model cost only what caused them."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from transcription_worker.engines.protocol import OutOfMemory, Recognition
from transcription_worker.errors import Reason, RecordingError, RetryableError
from transcription_worker.infer import infer


@dataclass
class FragileEngine:
    """Hears the length of each input; fails on negative samples, and on more than `fits` inputs at once."""

    fits: int = 1000
    sample_rate: int = 16000
    name: str = "fragile"
    precision: str = "float32"
    calls: list[int] = field(default_factory=list)

    def load(self):
        pass

    def transcribe(self, batch):
        self.calls.append(len(batch))
        if sum(len(x) for x in batch) > self.fits:
            raise OutOfMemory("too much")
        if any((x < 0).any() for x in batch):
            raise ValueError("negative")
        return [Recognition(str(len(x))) for x in batch]


def inputs(*lengths):
    return [np.zeros(n, np.float32) for n in lengths]


def test_results_stay_in_order():
    results = infer(FragileEngine(), inputs(3, 1, 2))
    assert [r.text for r in results] == ["3", "1", "2"]


def test_a_batch_that_does_not_fit_is_halved_until_it_does():
    engine = FragileEngine(fits=5)
    told = []
    results = infer(engine, inputs(2, 2, 2, 2), lambda: told.append("did not fit"))
    assert [r.text for r in results] == ["2", "2", "2", "2"]
    assert engine.calls == [4, 2, 2]
    assert told == ["did not fit"]


def test_one_segment_that_does_not_fit_is_out_of_memory_and_the_others_are_not():
    results = infer(FragileEngine(fits=5), inputs(2, 9, 3))
    assert [r.text for r in (results[0], results[2])] == ["2", "3"]
    assert isinstance(results[1], RecordingError)
    assert results[1].reason is Reason.OUT_OF_MEMORY
    assert results[1].retryable


def test_one_bad_input_costs_only_itself():
    batch = inputs(1, 2, 3, 4)
    batch[2][0] = -1
    results = infer(FragileEngine(), batch)
    assert [getattr(r, "text", None) for r in results] == ["1", "2", None, "4"]
    assert results[2].reason is Reason.MODEL_ERROR
    assert "negative" in results[2].message


def test_an_engine_that_loses_a_result_is_not_believed():
    class Forgetful(FragileEngine):
        def transcribe(self, batch):
            return super().transcribe(batch)[1:]

    results = infer(Forgetful(), inputs(1, 2))
    assert all(isinstance(r, RecordingError) and r.reason is Reason.MODEL_ERROR for r in results)


def test_a_failed_device_ends_the_worker_and_not_a_recording():
    class Broken(FragileEngine):
        def transcribe(self, batch):
            raise RetryableError("The GPU failed")

    with pytest.raises(RetryableError):
        infer(Broken(), inputs(1, 2))
