"""The first half of the pipeline for one recording: is it done already, fetch it, decode it, cut it into pieces.

Runs on many threads at once, each straight through for one recording, so that its scratch file lives exactly as long
as the `with` block that made it.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from transcription_worker.decode import AudioInfo, Decoder, DecodeRequest
from transcription_worker.errors import Reason, RecordingError, TranscriptionError
from transcription_worker.fault_points import Point, reach
from transcription_worker.flow import Budget, Stopped
from transcription_worker.plan import Recording
from transcription_worker.scratch import Scratch
from transcription_worker.scratch_space import disk_ends_process
from transcription_worker.segment import AudioSegment, Segmenter
from transcription_worker.store.protocol import Store
from transcription_worker.task import Piece, Task
from transcription_worker.time_use import Step, Stopwatch, TimeUse
from transcription_worker.transcript import Source

log = logging.getLogger(__name__)

ROOM_POLL_SECONDS = 1.0
SLOW_FETCH_SECONDS = 1.0
"""What takes longer to arrive is taken for a recording: toolkit and model come up meanwhile. What is there sooner shows
by itself whether it is one, and where none is, none has to be loaded."""


@dataclass(frozen=True, slots=True)
class IntakeOptions:
    """`channels` as in the manifest; limits in seconds; `fetch_bytes` bounds what lies in scratch at once;
    `sample_rate` gives the model's rate in Hz, and waits for the model's file where it must be fetched first."""

    channels: Literal["mix", "each"] | int
    max_segment_seconds: float
    max_recording_seconds: float
    sample_rate: Callable[[], int]
    fetch_bytes: int


class DecoderPool:
    """As many decoders as may run at once; a thread borrows one for a recording."""

    def __init__(self, size: int) -> None:
        self._decoders = [Decoder() for _ in range(size)]
        self._free: SimpleQueue[Decoder] = SimpleQueue()
        for decoder in self._decoders:
            self._free.put(decoder)

    @contextmanager
    def borrow(self) -> Iterator[Decoder]:
        decoder = self._free.get()
        try:
            yield decoder
        finally:
            self._free.put(decoder)

    def close(self) -> None:
        for decoder in self._decoders:
            decoder.close()


class Intake:
    """Takes one task at a time (per thread) from planned to decoded.

    Args:
        model_needed: called when a recording turned out to be one, or takes its time to arrive; the model's file is
            there then.
        fetched: told how many bytes came from the store, chunk by chunk.
        time_use: told what goes on.
        deliver: takes the pieces of a recording, in order, when the budget has room for them.
    """

    def __init__(
        self,
        store: Store,
        scratch: Scratch,
        decoders: DecoderPool,
        options: IntakeOptions,
        *,
        audio_budget: Budget,
        model_needed: Callable[[], None],
        fetched: Callable[[int], None],
        time_use: TimeUse,
        deliver: Callable[[Piece], None],
    ) -> None:
        self._store = store
        self._scratch = scratch
        self._decoders = decoders
        self._options = options
        self._audio_budget = audio_budget
        self._fetch_budget = Budget(options.fetch_bytes)
        self._model_needed = model_needed
        self._fetched = fetched
        self._time_use = time_use
        self._deliver = deliver
        self._stopped = threading.Event()
        self._bringing = threading.Lock()
        self.threads: list[threading.Thread] = []
        """Of its own, once there are any: whoever ends the worker in good order waits for them too."""
        self._room = threading.Lock()
        self._waiting_bytes = 0
        self._giving_up = False

    def stop(self) -> None:
        self._stopped.set()
        self._fetch_budget.stop()

    def read(self, task: Task) -> None:
        """Deliver every piece of the recording.

        Raises:
            RecordingError: it cannot be fetched or decoded.
            RetryableError: the disk of scratch takes no more files.
            Stopped: the pipeline drains.
        """
        recording = task.recording
        if not recording.etag:
            self._store.head(recording.key)  # says it where the key itself is the fault
            raise RecordingError(
                Reason.NOT_FOUND, f"{recording.key} does not exist in {self._store.uri}: correct the manifest."
            )
        if recording.size == 0:
            raise RecordingError(Reason.EMPTY, f"{recording.key} is empty (0 bytes): upload the recording again.")
        with self._as_file(task) as path:
            self._decode(task, path)
        if self._store.local_path(recording.key) is not None:
            self._refuse_change(recording)

    @contextmanager
    def _as_file(self, task: Task) -> Iterator[Path]:
        recording = task.recording
        local = self._store.local_path(recording.key)
        if local is not None:
            self._refuse_change(recording)
            yield local
            return
        with self._fetch_budget.hold(recording.size), self._scratch.file(scratch_extension(recording)) as path:
            self._wait_for_room(recording)
            watch = Stopwatch()
            reach(Point.FETCH_BEGUN)
            with disk_ends_process(self._scratch.root), self._time_use.doing(Step.FETCH):
                self._store.fetch(recording.key, recording.etag, path, partial(self._arrived, watch))
            reach(Point.FETCH_DONE)
            task.timings.fetch = watch.seconds()
            yield path

    def _arrived(self, watch: Stopwatch, size: int) -> None:
        self._fetched(size)
        if watch.seconds() > SLOW_FETCH_SECONDS and self._bringing.acquire(blocking=False):
            thread = threading.Thread(target=self._bring_model, name="model-file", daemon=True)
            thread.start()
            self.threads.append(thread)
        reach(Point.FETCH_CHUNK)
        if self._stopped.is_set():
            raise Stopped

    def _bring_model(self) -> None:
        """On a thread that a drain may leave behind, as it may those that read; it never lets go of its lock, for once
        is enough. What goes wrong here meets whoever decodes the first recording."""
        with suppress(TranscriptionError, Stopped):
            self._options.sample_rate()
            self._model_needed()

    def _refuse_change(self, recording: Recording) -> None:
        now = self._store.head(recording.key)
        if now is None:
            raise RecordingError(Reason.NOT_FOUND, f"{recording.key} was deleted after the plan was made: run again.")
        if now.etag != recording.etag:
            raise RecordingError(
                Reason.CHANGED, f"{recording.key} was replaced after the plan was made: run again to transcribe it."
            )

    def _wait_for_room(self, recording: Recording) -> None:
        if self._scratch.has_room(recording.size):
            return
        with self._room:
            self._waiting_bytes += recording.size
        try:
            while not self._scratch.has_room(recording.size):
                self._scratch.sweep()
                if self._scratch.has_room(recording.size):
                    return
                self._refuse_vain_wait(recording)
                if self._stopped.wait(ROOM_POLL_SECONDS):
                    raise Stopped
        finally:
            with self._room:
                self._waiting_bytes -= recording.size

    def _refuse_vain_wait(self, recording: Recording) -> None:
        """Where everybody who holds bytes only waits for room, one gives up at a time: that may be enough for another.

        Raises:
            RecordingError: NoSpace.
        """
        with self._room:
            if self._giving_up or self._fetch_budget.used > self._waiting_bytes:
                self._giving_up = False
                return
            self._giving_up = True
        raise RecordingError(
            Reason.NO_SPACE,
            f"{recording.key} needs {recording.size} bytes in scratch, {self._scratch.root} has "
            f"{self._scratch.free_bytes()} free: enlarge scratch or lower spec.workers.scratch.minFree.",
        )

    def _decode(self, task: Task, path: Path) -> None:
        options = self._options
        rate = options.sample_rate()
        with self._decoders.borrow() as decoder:
            watch = Stopwatch()
            waited = 0.0
            request = DecodeRequest(path, options.channels, rate, options.max_recording_seconds, task.recording.key)
            with decoder.decode(request) as stream, self._time_use.doing(Step.DECODE):
                reach(Point.DECODE_BEGUN)
                segmenters: list[Segmenter] = []
                for block in stream:
                    reach(Point.DECODE_BLOCK)
                    if not segmenters:
                        self._model_needed()
                        task.channels = channel_names(options.channels, block.shape[0])
                        segmenters = [
                            Segmenter(channel, rate, options.max_segment_seconds) for channel in task.channels
                        ]
                    for segmenter, samples in zip(segmenters, block, strict=True):
                        for segment in segmenter.push(samples):
                            waited += self._hand_on(task, segment, rate)
                for segmenter in segmenters:
                    for segment in segmenter.finish():
                        waited += self._hand_on(task, segment, rate)
            reach(Point.DECODE_DONE)
            task.source = self._source(task.recording, stream.info, stream.seconds)
            task.timings.decode = max(0.0, watch.seconds() - waited)

    def _hand_on(self, task: Task, segment: AudioSegment, rate: int) -> float:
        """Deliver one segment when there is room for it; returns the seconds it waited."""
        watch = Stopwatch()
        piece = Piece(task, segment, len(segment.samples) / rate)
        self._audio_budget.acquire(piece.seconds)
        if task.dead:
            self._audio_budget.release(piece.seconds)
            raise Stopped
        task.add_piece()
        self._deliver(piece)
        return watch.seconds()

    def _source(self, recording: Recording, info: AudioInfo, seconds: float) -> Source:
        return Source(
            uri=f"{self._store.uri}/{recording.key}",
            key=recording.key,
            etag=recording.etag,
            size=recording.size,
            duration=round(seconds, 3),
            sample_rate=info.sample_rate,
            channels=info.channels,
            codec=info.codec,
        )


def channel_names(wanted: Literal["mix", "each"] | int, count: int) -> tuple[int | None, ...]:
    """What the rows of a decoded block are: None for the mix, else the channel's number."""
    if wanted == "mix":
        return (None,)
    return tuple(range(count)) if wanted == "each" else (wanted,)


def scratch_extension(recording: Recording) -> str:
    """A harmless file extension: decoders go by content, and a key is untrusted."""
    return recording.extension if re.fullmatch("[a-z0-9]{1,16}", recording.extension) else "audio"
