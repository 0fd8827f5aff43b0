"""Whether a recording is all there: the container's structure before decoding, the declared duration after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

from transcription_worker.decode.extents.amr import amr_extent
from transcription_worker.decode.extents.chunks import aiff_extent, au_extent, caf_extent, riff_extent, w64_extent
from transcription_worker.decode.extents.extent import TOLERANCE_SECONDS, Extent
from transcription_worker.decode.extents.flac import flac_extent
from transcription_worker.decode.extents.matroska import matroska_extent
from transcription_worker.decode.extents.mp4 import mp4_extent
from transcription_worker.decode.extents.mpeg import adts_extent, mp3_extent
from transcription_worker.decode.extents.ogg import ogg_extent
from transcription_worker.decode.sniff import Container

EXTENTS: dict[Container, Callable[[IO[bytes], int], Extent]] = {
    Container.WAV: riff_extent,
    Container.W64: w64_extent,
    Container.AIFF: aiff_extent,
    Container.AU: au_extent,
    Container.CAF: caf_extent,
    Container.FLAC: flac_extent,
    Container.OGG: ogg_extent,
    Container.MP3: mp3_extent,
    Container.MP4: mp4_extent,
    Container.MATROSKA: matroska_extent,
    Container.ADTS: adts_extent,
    Container.AMR: amr_extent,
}

FRAME_SAMPLES = {"aac": 2048, "mp3": 576, "mp2": 1152, "opus": 960, "vorbis": 4096, "flac": 4096, "alac": 4096}
"""The longest usual frame of a codec: some headers count the padding of the last one as audio.

MP3 has 1152 samples in a frame only from 32 kHz on, where 0.1 s is more anyway."""


def extent(file: IO[bytes], size: int, container: Container) -> Extent:
    """What the structure of the file says, without decoding it."""
    return EXTENTS[container](file, size)


def falls_short(declared: float, decoded: float, codec: str, sample_rate: int) -> bool:
    """Whether `decoded` seconds are too few for `declared` ones: by more than 0.1 s and more than one frame."""
    frame = FRAME_SAMPLES.get(codec, 1024) / sample_rate
    return declared - decoded > max(TOLERANCE_SECONDS, frame)
