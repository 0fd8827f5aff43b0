"""One recording from file to rendered blocks: recognise, check, open, render, and check that it was all there.

Runs in the child. This is the only place that turns what the parsers and libraries find into reasons and sentences.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from types import TracebackType

import numpy as np

from transcription_worker.decode.render import Rendered, Renderer
from transcription_worker.decode.request import DecodeRequest
from transcription_worker.decode.sndfile_source import SndfileSource
from transcription_worker.decode.sniff import Container, sniff
from transcription_worker.decode.source import Pcm, Source, SourceError, block_frames
from transcription_worker.decode.truncation import extent, falls_short
from transcription_worker.errors import Reason, RecordingError

SNDFILE_CONTAINERS = frozenset(
    {
        Container.WAV,
        Container.W64,
        Container.AIFF,
        Container.AU,
        Container.CAF,
        Container.FLAC,
        Container.OGG,
        Container.MP3,
    }
)
SAMPLE_RATES = range(1_000, 768_001)
MAX_CHANNELS = 64
MAX_DECLARED_SECONDS = 31 * 24 * 3600.0
BLOCK_SECONDS = 8
"""What goes to the worker at once. Its interpreter runs a few lines for every block, whatever is in it."""


class Recording:
    """An open recording; iterate once for blocks of `BLOCK_SECONDS` or less, then `seconds` is its decoded duration.

    `info` is what the file says of itself, `channels` the number of channels of the blocks.

    Raises:
        RecordingError: from the constructor or the iteration.
    """

    def __init__(self, request: DecodeRequest) -> None:
        self._request = request
        self._title = request.title
        self.seconds = 0.0
        self._source = self._open()
        try:
            self.info = self._source.info
            declared = self.info.declared_seconds or self._extent.declared_seconds
            self.info = replace(self.info, declared_seconds=None if self._extent.stale else declared)
            self._check_info()
        except BaseException:
            self._source.close()
            raise
        self._renderer = Renderer(self.info.channels, request.channels, self.info.sample_rate, request.target_rate)
        self.channels = self._renderer.channels

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.close()

    def __iter__(self) -> Iterator[Rendered]:
        wanted = block_frames(BLOCK_SECONDS * self._request.target_rate, self.channels)
        pending: list[Rendered] = []
        held = 0
        for rendered in self._rendered():
            pending.append(rendered)
            held += rendered.shape[1]
            if held >= wanted:
                yield np.concatenate(pending, axis=1)
                pending, held = [], 0
        if held:
            yield np.concatenate(pending, axis=1)
        self._check_end()

    def _rendered(self) -> Iterator[Rendered]:
        frames = 0
        try:
            for pcm in self._pieces():
                frames += len(pcm)
                self.seconds = frames / self.info.sample_rate
                if self.seconds > self._request.max_seconds:
                    raise self._too_long("more than")
                yield self._renderer.push(pcm)
        except SourceError as error:
            raise self._broken(f"after {self.seconds:.1f} s its stream is broken: {error}") from None
        yield self._renderer.flush()

    def _pieces(self) -> Iterator[Pcm]:
        """The source's blocks, those cut up of which a second, at either rate, would be too large to go on."""
        rate, target = self.info.sample_rate, self._request.target_rate
        step = max(1, block_frames(max(rate, target), self.info.channels) * rate // max(rate, target))
        for pcm in self._source.blocks():
            for start in range(0, len(pcm), step):
                yield pcm[start : start + step]

    def _open(self) -> Source:
        try:
            with self._request.path.open("rb") as file:
                size = file.seek(0, 2)
                container = sniff(file)
                if size == 0:
                    raise RecordingError(Reason.EMPTY, f"{self._title} is empty (0 bytes); upload the recording again.")
                if container is None:
                    raise RecordingError(
                        Reason.UNSUPPORTED_FORMAT,
                        f"{self._title} is no audio that is known here; convert it to one of: {', '.join(Container)}.",
                    )
                self._extent = extent(file, size, container)
        except OSError as error:
            raise RecordingError(Reason.INTERNAL, f"{self._title}: cannot be read here: {error.strerror}.") from None
        if self._extent.cut is not None:
            raise self._truncated(self._extent.cut)
        if self._extent.damage is not None:
            raise self._corrupt(self._extent.damage)
        try:
            return self._open_as(container, plain=container in SNDFILE_CONTAINERS and not self._extent.stale)
        except SourceError as error:
            raise self._broken(f"it begins as {container} but cannot be opened: {error}") from None

    def _open_as(self, container: Container, *, plain: bool) -> Source:
        if plain:
            with suppress(SourceError):
                source = SndfileSource(self._request.path)
                # Ogg has its own order of channels beyond two, which libsndfile keeps and FFmpeg translates to WAV's;
                # and libsndfile takes three times as long over Opus.
                if container is not Container.OGG or (source.info.channels <= 2 and source.info.codec != "opus"):
                    return source
                source.close()
        # Loaded late: most buckets hold nothing that needs it.
        from transcription_worker.decode.pyav_source import NothingToDecodeError, PyavSource

        try:
            return PyavSource(self._request.path, container)
        except NothingToDecodeError as error:
            raise RecordingError(
                Reason.UNSUPPORTED_FORMAT, f"{self._title} {error}; convert it, or leave it out of the job."
            ) from None

    def _check_info(self) -> None:
        info, wanted = self.info, self._request.channels
        if info.sample_rate not in SAMPLE_RATES or not 1 <= info.channels <= MAX_CHANNELS:
            raise self._corrupt(f"its header declares {info.sample_rate} Hz and {info.channels} channels")
        if isinstance(wanted, int) and not 0 <= wanted < info.channels:
            raise RecordingError(
                Reason.CHANNEL_MISSING,
                f"{self._title} has {_count(info.channels, 'channel')}, channel {wanted} (counted from 0) is not "
                "there; ask for another one, for mix or for each.",
            )
        if info.declared_seconds is not None:
            if info.declared_seconds > MAX_DECLARED_SECONDS:
                raise self._corrupt(f"its header declares {info.declared_seconds:.3g} s")
            if info.declared_seconds > self._request.max_seconds:
                raise self._too_long(f"{info.declared_seconds:.1f} s, more than")

    def _check_end(self) -> None:
        info = self.info
        declared = info.declared_seconds
        if declared is not None and falls_short(declared, self.seconds, info.codec, info.sample_rate):
            finding = f"its header declares {declared:.1f} s, {self.seconds:.1f} s could be decoded"
            raise self._corrupt(finding) if self._extent.whole else self._truncated(finding)
        if self.seconds == 0:
            raise self._empty()

    def _empty(self) -> RecordingError:
        return RecordingError(Reason.EMPTY, f"{self._title} holds no samples; record it again or leave it out.")

    def _truncated(self, finding: str) -> RecordingError:
        return RecordingError(Reason.TRUNCATED, f"{self._title} is truncated: {finding}; upload the whole file again.")

    def _broken(self, finding: str) -> RecordingError:
        """A library gave up: on a file whose container is not known to be whole, the rest of it is what is missing."""
        declared = self._extent.declared_seconds
        if declared == 0:
            return self._empty()
        if declared is None or self._extent.whole:
            return self._corrupt(finding)
        return self._truncated(f"its header declares {declared:.1f} s, {self.seconds:.1f} s could be decoded")

    def _corrupt(self, finding: str) -> RecordingError:
        return RecordingError(
            Reason.CORRUPT, f"{self._title} is damaged: {finding}; export the recording again from its source."
        )

    def _too_long(self, length: str) -> RecordingError:
        return RecordingError(
            Reason.TOO_LONG,
            f"{self._title} is {length} the {self._request.max_seconds:g} s that are allowed; cut it into parts.",
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
