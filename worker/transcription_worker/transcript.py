"""The transcript of one recording as plain data. How it is written stands in `formats/`."""

from __future__ import annotations

from dataclasses import dataclass

SCHEMA_VERSION = "1"


@dataclass(frozen=True, slots=True)
class Word:
    """One word. `start` and `end` are seconds from the start of the recording; `confidence` in 0..1 or None."""

    text: str
    start: float
    end: float
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech that went through the model in one row; times in seconds of the whole recording.

    `words` is empty when the job asked for no word times.
    """

    start: float
    end: float
    text: str
    confidence: float | None = None
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class ChannelTranscript:
    """What was said on one channel. `channel` is 0-based, or None where all channels were mixed."""

    channel: int | None
    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        return " ".join(s.text for s in self.segments if s.text)


@dataclass(frozen=True, slots=True)
class Source:
    """The recording as it was found. `duration` in seconds, `sample_rate` in Hz."""

    uri: str
    key: str
    etag: str
    size: int
    duration: float
    sample_rate: int
    channels: int
    codec: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made the transcript; resume and `overwrite: IfChanged` compare `model_digest` and `options_digest`."""

    job: str
    model: str
    model_digest: str
    options_digest: str
    engine: str
    software: str
    precision: str
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Transcript:
    """One recording, one transcript; with `channels: each` one entry of `channels` per channel, else exactly one."""

    source: Source
    provenance: Provenance
    channels: tuple[ChannelTranscript, ...]

    @property
    def text(self) -> str:
        return "\n".join(c.text for c in self.channels)
