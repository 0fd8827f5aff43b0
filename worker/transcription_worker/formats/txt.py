"""Plain text: one line per segment of speech, nothing else."""

from __future__ import annotations

from transcription_worker.formats.timed import printable
from transcription_worker.transcript import ChannelTranscript


def to_txt(channel: ChannelTranscript) -> bytes:
    """UTF-8, one line per segment that has text; empty where nothing was said."""
    lines = (" ".join(printable(segment.text)) for segment in channel.segments)
    return "".join(f"{line}\n" for line in lines if line).encode()
