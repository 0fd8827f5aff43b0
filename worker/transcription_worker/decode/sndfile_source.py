"""WAV, FLAC, MP3, Ogg, AIFF, AU, CAF and W64 through libsndfile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from transcription_worker.decode.request import AudioInfo
from transcription_worker.decode.source import Pcm, SourceError, block_frames

CODECS = {
    "PCM_S8": "pcm_s8",
    "PCM_U8": "pcm_u8",
    "PCM_16": "pcm_s16",
    "PCM_24": "pcm_s24",
    "PCM_32": "pcm_s32",
    "FLOAT": "pcm_f32",
    "DOUBLE": "pcm_f64",
    "ULAW": "pcm_mulaw",
    "ALAW": "pcm_alaw",
    "VORBIS": "vorbis",
    "OPUS": "opus",
    "MPEG_LAYER_I": "mp1",
    "MPEG_LAYER_II": "mp2",
    "MPEG_LAYER_III": "mp3",
    "ALAC_16": "alac",
    "ALAC_20": "alac",
    "ALAC_24": "alac",
    "ALAC_32": "alac",
}
UNKNOWN_FRAMES = (1 << 63) - 1


class _Forward(soundfile.SoundFile):  # type: ignore[misc]
    """soundfile seeks to where it is after every read of a seekable file; MP3 and FLAC then decode frames twice."""

    def seekable(self) -> bool:
        return False


class SndfileSource:
    """See `source.Source`. Raises SourceError for what libsndfile cannot open."""

    def __init__(self, path: Path) -> None:
        # A descriptor has no name: where the content says nothing, libsndfile believes the extension.
        self._descriptor = os.open(path, os.O_RDONLY)
        try:
            self._file = _Forward(self._descriptor, closefd=False)
        except soundfile.LibsndfileError as error:
            os.close(self._descriptor)
            raise SourceError(error.error_string) from None
        rate, frames = self._file.samplerate, self._file.frames
        codec = "flac" if self._file.format == "FLAC" else CODECS.get(self._file.subtype, self._file.subtype.lower())
        # Of MPEG audio it is a guess from the bit rate, unless a header says it, which `extents/mpeg.py` reads.
        declares = 0 < frames < UNKNOWN_FRAMES and rate > 0 and not self._file.subtype.startswith("MPEG")
        self.info = AudioInfo(rate, self._file.channels, codec, frames / rate if declares else None)

    def blocks(self) -> Iterator[Pcm]:
        while True:
            block = np.empty((block_frames(self.info.sample_rate, self.info.channels), self.info.channels), np.float32)
            try:
                block = self._file.read(out=block)
            except soundfile.LibsndfileError as error:
                raise SourceError(error.error_string) from None
            if len(block) == 0:
                return
            yield block

    def close(self) -> None:
        self._file.close()
        os.close(self._descriptor)
