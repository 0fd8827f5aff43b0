"""MP4, Matroska/WebM, AAC and AMR, and what libsndfile does not know inside its own containers, through FFmpeg."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Discard

from transcription_worker.decode.request import AudioInfo
from transcription_worker.decode.sniff import Container
from transcription_worker.decode.source import Pcm, SourceError, block_frames

DEMUXERS = {
    Container.WAV: "wav",
    Container.W64: "w64",
    Container.AIFF: "aiff",
    Container.AU: "au",
    Container.CAF: "caf",
    Container.FLAC: "flac",
    Container.OGG: "ogg",
    Container.MP3: "mp3",
    Container.MP4: "mov",
    Container.MATROSKA: "matroska",
    Container.ADTS: "aac",
    Container.AMR: "amr",
}
MULTIMEDIA = (Container.OGG, Container.MP4, Container.MATROSKA)
"""Without sound these may be a film; any other container is damaged then."""

FULL_SCALE = {"u8": 1 << 7, "s16": 1 << 15, "s32": 1 << 31, "s64": 1 << 63}

DURATION_TAG = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
GAP_SECONDS = 0.1
"""Holes between timestamps below it are rounding (Matroska keeps milliseconds); longer ones become silence."""


class NothingToDecodeError(Exception):
    """The container is sound and holds no audio, or none that can be decoded; `str()` is which of the two."""


class PyavSource:
    """See `source.Source`: the best audio stream, placed on the container's clock.

    A stream that starts late or has holes (a lost packet, discontinuous transmission) is filled with silence, so that
    the times of a transcript are those of the recording.

    Raises:
        SourceError: FFmpeg cannot open it.
        NothingToDecodeError: there is nothing to hear in it.
    """

    def __init__(self, path: Path, container: Container) -> None:
        options = {"protocol_whitelist": "file", "format_whitelist": ",".join(DEMUXERS.values())}
        try:
            self._file = av.open(f"file:{path}", format=DEMUXERS[container], options=options, metadata_errors="replace")
        except MemoryError:
            raise
        except (av.FFmpegError, ValueError) as error:
            raise SourceError(_word(error)) from None
        self._stream = self._file.streams.best("audio")
        codec = self._stream.codec_context if self._stream is not None else None
        if codec is None:
            streams = len(self._file.streams)
            self._file.close()
            if not streams or container not in MULTIMEDIA:
                raise SourceError("its header describes no audio")
            which = "holds no audio stream" if self._stream is None else "holds audio of a codec that is not known here"
            raise NothingToDecodeError(which)
        for other in self._file.streams:
            if other.index != self._stream.index:
                other.discard = Discard.all
        codec.thread_count = 1
        rate, channels = codec.sample_rate, codec.channels
        self._origin = max(0.0, (self._file.start_time or 0) / av.time_base)
        declared = _declared_seconds(self._file, self._stream, container, self._origin)
        self.info = AudioInfo(rate, channels, codec.codec.canonical_name, declared)

    def blocks(self) -> Iterator[Pcm]:
        """Several frames, of 20 ms in Opus and AMR, make one block: what follows costs by the call."""
        frames: list[Pcm] = []
        held = 0
        enough = block_frames(self.info.sample_rate // 2, self.info.channels)
        for frame in self._placed_frames():
            frames.append(frame)
            held += len(frame)
            if held >= enough:
                yield np.concatenate(frames)
                frames, held = [], 0
        if held:
            yield np.concatenate(frames)

    def _placed_frames(self) -> Iterator[Pcm]:
        position = 0
        rate = self.info.sample_rate
        for frame in self._frames():
            if (frame.sample_rate, frame.layout.nb_channels) != (rate, self.info.channels):
                raise SourceError(
                    f"it changes from {rate} Hz, {self.info.channels} channels to {frame.sample_rate} Hz, "
                    f"{frame.layout.nb_channels} channels after {position / rate:.1f} s"
                )
            hole = 0 if frame.time is None else round((frame.time - self._origin) * rate) - position
            if hole > GAP_SECONDS * rate:
                position += hole
                yield from _silence(hole, rate, self.info.channels)
            position += frame.samples
            yield _pcm(frame)

    def _frames(self) -> Iterator[Any]:
        lost = 0.0
        try:
            for packet in self._file.demux(self._stream):
                try:
                    yield from packet.decode()
                except av.InvalidDataError as error:
                    # One packet that does not decode is a click, and its place is kept by the clock.
                    lost += float((packet.duration or 0) * (packet.time_base or 0)) or GAP_SECONDS
                    if lost > GAP_SECONDS:
                        raise SourceError(_word(error)) from None
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            raise SourceError(_word(error)) from None
        except IndexError:
            # PyAV knows the streams that were there at the beginning.
            raise SourceError("another stream begins in the middle of it") from None

    def close(self) -> None:
        self._file.close()


def _pcm(frame: Any) -> Pcm:
    if frame.format.name == "fltp":  # Opus, AAC, MP3: PyAV's own way takes as long as decoding 20 ms of them
        planes = [np.frombuffer(plane, np.float32, frame.samples) for plane in frame.planes]
        return planes[0][:, np.newaxis] if len(planes) == 1 else np.stack(planes, axis=1)
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(frame.samples, -1)
    else:
        samples = samples.T
    full_scale = FULL_SCALE.get(frame.format.name.removesuffix("p"))
    if full_scale is None:
        return np.asarray(samples, dtype=np.float32)
    if frame.format.name.startswith("u8"):
        samples = samples.astype(np.int16) - full_scale
    return np.asarray(samples * np.float32(1 / full_scale), dtype=np.float32)


def _silence(length: int, rate: int, channels: int) -> Iterator[Pcm]:
    step = block_frames(rate, channels)
    while length > 0:
        yield np.zeros((min(length, step), channels), np.float32)
        length -= step


def _declared_seconds(file: Any, stream: Any, container: Container, origin: float) -> float | None:
    """What the container says of this stream. FFmpeg's estimates from bit rates are no declaration."""
    if container in (Container.ADTS, Container.AMR, Container.MP3):
        return None
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    if container is not Container.MATROSKA:
        return None
    # Matroska's Duration is that of its longest track, which may be the picture; writers add one tag per track.
    tag = DURATION_TAG.fullmatch(stream.metadata.get("DURATION", ""))
    if tag is not None:
        hours, minutes, seconds = tag.groups()
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds) - origin
    if len(file.streams) == 1 and file.duration is not None:
        return float(file.duration / av.time_base) - origin
    return None


def _word(error: Exception) -> str:
    """FFmpeg's own words without the path and errno that PyAV puts around them."""
    return getattr(error, "strerror", None) or str(error)
