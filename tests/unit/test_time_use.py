"""Where a worker's time went, with a clock that stands still until it is told."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from transcription_worker.errors import ConfigurationError
from transcription_worker.model_file import ModelFile
from transcription_worker.model_source import ModelRequest, ModelSource
from transcription_worker.progress import Progress
from transcription_worker.report import Price, Usage
from transcription_worker.scratch import Scratch
from transcription_worker.store.protocol import Arrived
from transcription_worker.time_use import Step, Timesheet, TimeUse, process_age


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def spent(use: TimeUse) -> dict[str, float]:
    return {step.value: seconds for step, seconds in use.seconds().items() if seconds}


def test_each_moment_counts_once_for_what_matters_most() -> None:
    clock = Clock()
    use = TimeUse(age=2.0, clock=clock)
    clock.now += 1  # nothing goes on
    with use.doing(Step.FETCH):
        clock.now += 1
        with use.doing(Step.DECODE):
            clock.now += 2
            with use.doing(Step.START), use.doing(Step.DECODE):
                clock.now += 4
            with use.doing(Step.MODEL):
                clock.now += 8
        clock.now += 16
    with use.doing(Step.COMMIT):
        clock.now += 32
    assert spent(use) == {"start": 6.0, "wait": 1.0, "fetch": 17.0, "decode": 2.0, "model": 8.0, "commit": 32.0}
    assert sum(use.seconds().values()) == 2.0 + clock.now - 100.0


def test_bringing_the_model_s_file_belongs_to_the_start(tmp_path: Path) -> None:
    clock = Clock()
    progress = Progress()
    progress.time_use = TimeUse(clock=clock)
    archive = Path(__file__).parents[2] / "examples/models/tiny-ctc.nemo"

    class Slow(ModelSource):
        def fetch(self, cache: Path, scratch: Scratch, arrived: Arrived | None = None) -> Path:
            clock.now += 60
            return archive

    with Scratch(tmp_path, min_free_bytes=0) as scratch:
        model = ModelFile(Slow(ModelRequest(path=archive)), "tiny", tmp_path, scratch, progress)
        assert model.archive() == model.archive()
    assert spent(progress.time_use) == {"start": 60.0}


def test_two_at_once_are_one_and_an_error_ends_a_step() -> None:
    clock = Clock()
    use = TimeUse(clock=clock)
    with use.doing(Step.MODEL), use.doing(Step.MODEL):
        clock.now += 3
    with pytest.raises(ValueError, match="broken"), use.doing(Step.FETCH):
        raise ValueError("broken")
    clock.now += 1
    assert spent(use) == {"model": 3.0, "wait": 1.0}


def test_many_threads_lose_nothing() -> None:
    use = TimeUse()
    before = time.monotonic()

    def work() -> None:
        for _ in range(2_000):
            with use.doing(Step.DECODE), use.doing(Step.FETCH):
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    at_most = time.monotonic() - before
    with use.doing(Step.COMMIT):
        seconds = use.seconds()
    assert 0 < sum(seconds.values()) <= at_most + 0.5
    assert all(count == 0 for count in use._under_way.values())


def test_the_age_of_a_process_is_counted_from_its_start() -> None:
    first = process_age()
    assert 0 < first < 24 * 3600
    assert process_age() >= first


def sheet(worker: str, gpus: int = 1, audio: float = 7200.0, **seconds: float) -> Timesheet:
    took = {step.value: seconds.get(step.value, 0.0) for step in Step}
    return Timesheet(worker, "a1b2c3d4", gpus, audio, took, {"before": 0.5, "torch": 1.5})


def test_a_timesheet_is_read_as_it_was_written() -> None:
    one = sheet("0/pod/1", model=10.0, start=2.5)
    assert Timesheet.from_json(one.to_json()) == one


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"{}", b'{"worker": "0", "plan": "x", "gpus": 1, "seconds": []}', b"\xff", b"[" * 100_000),
        b'{"worker": "0", "plan": "x", "gpus": 1, "audio_seconds": NaN, "seconds": {}}',
        b'{"worker": "0", "plan": "x", "gpus": 1e999, "audio_seconds": 1, "seconds": {}}',
        b'{"worker": "0", "plan": "x", "gpus": -1, "audio_seconds": 1, "seconds": {}}',
        b'{"worker": "0", "plan": "x", "gpus": 1, "audio_seconds": 1, "seconds": {"model": 1e999}}',
    ],
    ids=range(10),
)
def test_what_is_no_timesheet_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(ValueError, match="no timesheet of a worker"):
        Timesheet.from_json(body)


def test_a_timesheet_of_the_first_version_tells_no_parts_of_the_start() -> None:
    fields: dict[str, Any] = json.loads(sheet("0", model=1.0).to_json())
    del fields["start"]
    assert Timesheet.from_json(json.dumps(fields).encode()).start == {}


def test_a_step_of_a_later_version_is_left_out() -> None:
    fields: dict[str, Any] = json.loads(sheet("0", model=1.0).to_json())
    fields["seconds"]["dream"] = 5.0
    assert "dream" not in Timesheet.from_json(json.dumps(fields).encode()).seconds


def test_workers_are_added_up_and_priced() -> None:
    sheets = [sheet("0", gpus=2, model=800.0, start=100.0), sheet("1", gpus=2, model=700.0, fetch=200.0)]
    usage = Usage.of(sheets, Price(3.0, "EUR"))
    assert usage is not None
    assert (usage.workers, usage.worker_seconds, usage.model_busy) == (2, 1800.0, round(1500 / 1800, 4))
    assert usage.audio_seconds == sum(s.audio_seconds for s in sheets) > 0
    assert usage.gpu_seconds == 3600.0
    assert usage.gpu_seconds_per_audio_hour == 900.0
    assert (usage.cost, usage.currency) == (3.0, "EUR")
    assert usage.seconds["fetch"] == 200.0


def test_without_gpus_there_is_nothing_to_price() -> None:
    usage = Usage.of([sheet("0", gpus=0, model=10.0)], Price(3.0, "EUR"))
    assert usage is not None
    assert (usage.gpu_seconds, usage.gpu_seconds_per_audio_hour, usage.cost, usage.currency) == (None,) * 4


def test_no_timesheet_is_no_usage() -> None:
    assert Usage.of([], None) is None


def test_a_price_comes_from_the_environment() -> None:
    price = "TRANSCRIPTION_GPU_HOUR_PRICE"
    assert Price.of_environment({}) is None
    assert Price.of_environment({price: "0"}) is None
    assert Price.of_environment({price: " 2.49 "}) == Price(2.49, "USD")
    assert Price.of_environment({price: "2", "TRANSCRIPTION_CURRENCY": "EUR"}) == Price(2.0, "EUR")


@pytest.mark.parametrize("text", ["cheap", "-1", "nan", "inf", "2,49"])
def test_a_price_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"TRANSCRIPTION_GPU_HOUR_PRICE is .* a number such as 2\.49"):
        Price.of_environment({"TRANSCRIPTION_GPU_HOUR_PRICE": text})
