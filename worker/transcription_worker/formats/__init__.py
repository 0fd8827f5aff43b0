"""The files that a transcript is written as: one function, `render`, for all of them.

Each format has its own module; what they look like to a reader stands in docs/output.md. Nothing here reads or
writes a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from transcription_worker.errors import ConfigurationError
from transcription_worker.formats.ctm import to_ctm
from transcription_worker.formats.json import from_json, to_json
from transcription_worker.formats.srt import to_srt
from transcription_worker.formats.txt import to_txt
from transcription_worker.formats.vtt import to_vtt
from transcription_worker.transcript import ChannelTranscript, Transcript

__all__ = ["CONTENT_TYPES", "FORMATS", "content_type", "from_json", "render", "render_stored", "to_json"]

CONTENT_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "json": "application/json",
        "txt": "text/plain; charset=utf-8",
        "srt": "application/x-subrip; charset=utf-8",
        "vtt": "text/vtt; charset=utf-8",
        "ctm": "text/plain; charset=utf-8",
    }
)
"""Content type of each format."""

FORMATS = tuple(CONTENT_TYPES)

_WHOLE: Mapping[str, Callable[[Transcript], bytes]] = {"json": to_json, "ctm": to_ctm}
_PER_CHANNEL: Mapping[str, Callable[[ChannelTranscript], bytes]] = {"txt": to_txt, "srt": to_srt, "vtt": to_vtt}


def render(transcript: Transcript, formats: Sequence[str]) -> dict[str, bytes]:
    """Every file that `formats` asks for, by suffix, in the order asked for.

    The suffix is the format's name, but for txt, srt and vtt of a recording whose channels were transcribed one by
    one: these come as `ch0.srt`, `ch1.srt`, ... (0-based, also where the recording has a single channel). The suffix
    goes behind the full source name: `a.wav` + `ch0.srt` -> `a.wav.ch0.srt`.

    Rendered from `from_json(to_json(t))`, i.e. from times as the .json holds them, so that a format is the same bytes
    whether it is made with the transcript or added years later.

    Raises:
        ConfigurationError: a format that does not exist.
    """
    if unknown := [name for name in formats if name not in CONTENT_TYPES]:
        raise ConfigurationError(f"{unknown[0]!r} in spec.output.formats is no format: use {', '.join(FORMATS)}")
    return render_stored(to_json(transcript), formats)


def render_stored(document: bytes, formats: Sequence[str]) -> dict[str, bytes]:
    """The same from the .json as it stands in the output.

    Raises:
        ConfigurationError: a format that does not exist.
        RecordingError: `Corrupt`, where the document is no transcript.
    """
    stored = from_json(document)
    files: dict[str, bytes] = {}
    for name in formats:
        if name == "json":
            files[name] = document
        elif name in _WHOLE:
            files[name] = _WHOLE[name](stored)
        else:
            for channel in stored.channels:
                prefix = "" if channel.channel is None else f"ch{channel.channel}."
                files[f"{prefix}{name}"] = _PER_CHANNEL[name](channel)
    return files


def content_type(suffix: str) -> str:
    """Content type of a suffix that `render` returned, such as `vtt` or `ch1.vtt`."""
    return CONTENT_TYPES[suffix.rpartition(".")[2]]
