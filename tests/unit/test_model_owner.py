"""The owner of the model: as many batches at once as the engine has callers, time counted once, no thread left over."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest

from transcription_worker.batch import BatchSize, SegmentPool
from transcription_worker.claims import Taken
from transcription_worker.engines.protocol import OutOfMemory, Recognition
from transcription_worker.errors import RetryableError
from transcription_worker.flow import Budget
from transcription_worker.model_owner import ModelOwner
from transcription_worker.plan import Recording
from transcription_worker.progress import Progress
from transcription_worker.segment import AudioSegment
from transcription_worker.task import Piece, ShardRun, Task

WAIT = 30.0


@dataclass
class MeetingEngine:
    """Its callers meet inside `transcribe`; `trouble` is then raised for the batch of that number."""

    callers: int
    trouble: int | None = None
    sample_rate: int = 16_000
    load_seconds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self):
        self.meeting = threading.Barrier(self.callers, timeout=WAIT)

    def load(self):
        pass

    def transcribe(self, batch):
        self.meeting.wait()
        time.sleep(0.05)  # so that there is a time to be counted twice
        if self.trouble == len(batch[0]):
            raise RetryableError("The GPU failed")
        return [Recognition(str(len(samples))) for samples in batch]


class Scene:
    def __init__(self, pieces: int) -> None:
        self.progress = Progress()
        self.size = BatchSize(1.0, 1.0)
        self.pool: SegmentPool[Piece] = SegmentPool(self.size)
        self.audio = Budget(100.0)
        self.heard: dict[int, str] = {}
        self.errors: list[BaseException] = []
        self.left = pieces
        run = ShardRun(Taken(0, 0), [Recording("a.wav", "e", 1)], lambda run: None)
        for n in range(pieces):
            self.audio.acquire(1.0)
            self.pool.put(Piece(Task(run, 0), AudioSegment(None, n, 0.0, np.zeros(n + 1, np.float32)), 1.0))
        self.owner = ModelOwner(self.pool, self.size, self.audio, self.progress, self._heard, self._failed)

    def _heard(self, piece, result):
        self.heard[piece.segment.index] = result.text
        if len(self.heard) == self.left:
            self.pool.close()

    def _failed(self, error):
        self.errors.append(error)
        self.pool.close()


def test_batches_run_side_by_side_and_each_moment_is_counted_once():
    scene = Scene(pieces=4)
    begun = time.monotonic()
    scene.owner.run(MeetingEngine(callers=2))
    wall = time.monotonic() - begun
    assert scene.heard == {n: str(n + 1) for n in range(4)}
    assert scene.audio.used == 0
    done = scene.progress.snapshot()
    assert (done.batches, done.model_audio_seconds) == (4, 4.0)
    assert 0.05 < done.model_seconds <= wall


def test_two_batches_of_one_size_that_do_not_fit_halve_it_once():
    class Small(MeetingEngine):
        def transcribe(self, batch):
            if len(batch) > 2:
                self.meeting.wait()
                raise OutOfMemory("the device is full")
            return [Recognition(str(len(samples))) for samples in batch]

    scene = Scene(pieces=8)
    scene.size.seconds = 4.0
    scene.owner.run(Small(callers=2))
    assert scene.heard == {n: str(n + 1) for n in range(8)}
    assert scene.size.seconds == 2.0


@pytest.mark.parametrize("trouble", [1, 2])
def test_a_failed_device_ends_every_caller(trouble):
    scene = Scene(pieces=2)
    try:
        scene.owner.run(MeetingEngine(callers=2, trouble=trouble))
    except RetryableError as error:
        scene.errors.append(error)
    assert {str(error) for error in scene.errors} == {"The GPU failed"}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("model-")]
    assert scene.audio.used == 0
