"""WebVTT subtitles (.vtt; W3C WebVTT). The cues are made in cues.py."""

from __future__ import annotations

from html import escape

from transcription_worker.formats.cues import cues, timestamp
from transcription_worker.transcript import ChannelTranscript


def to_vtt(channel: ChannelTranscript) -> bytes:
    """UTF-8 with the `WEBVTT` header, which is the whole file where nothing was said.

    `&`, `<` and `>` are escaped (WebVTT section 4.2.2), so that the text holds neither a tag nor an arrow `-->`.
    """
    body = "".join(
        f"\n{timestamp(cue.start, '.')} --> {timestamp(cue.end, '.')}\n{escape(_text(cue.lines), quote=False)}\n"
        for cue in cues(channel)
    )
    return f"WEBVTT\n{body}".encode()


def _text(lines: tuple[str, ...]) -> str:
    return "\n".join(lines)
