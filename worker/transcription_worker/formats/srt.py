"""SubRip subtitles (.srt). The cues are made in cues.py."""

from __future__ import annotations

from transcription_worker.formats.cues import cues, timestamp
from transcription_worker.transcript import ChannelTranscript


def to_srt(channel: ChannelTranscript) -> bytes:
    """UTF-8, numbered from 1; an empty file where nothing was said.

    SubRip has no escapes: an arrow `-->` in the text, which readers take for a line of times, becomes `→`.
    """
    return "".join(
        f"{number}\n{timestamp(cue.start, ',')} --> {timestamp(cue.end, ',')}\n{_plain(cue.lines)}\n\n"
        for number, cue in enumerate(cues(channel), start=1)
    ).encode()


def _plain(lines: tuple[str, ...]) -> str:
    return "\n".join(lines).replace("-->", "→")
