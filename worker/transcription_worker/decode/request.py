"""What is asked of a decoder and what it says about a recording: plain data, no audio library."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Channels = Literal["mix", "each"] | int
"""Mean of all channels; every channel for itself; or one channel by its 0-based number."""


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """The recording as its file describes it: Hz, channels, codec (FFmpeg's name) and declared seconds, if any."""

    sample_rate: int
    channels: int
    codec: str
    declared_seconds: float | None


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """One recording to decode.

    `target_rate` is the sample rate of the output in Hz; recordings longer than `max_seconds` are refused. `name` is
    what error messages call the recording (default: the file's name).
    """

    path: Path
    channels: Channels
    target_rate: int
    max_seconds: float
    name: str = ""

    @property
    def title(self) -> str:
        return self.name or self.path.name

    def to_json(self) -> bytes:
        return json.dumps({**asdict(self), "path": str(self.path)}).encode()

    @classmethod
    def from_json(cls, body: bytes) -> DecodeRequest:
        fields = json.loads(body)
        return cls(**{**fields, "path": Path(fields["path"])})
