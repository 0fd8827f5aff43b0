"""NIST CTM (time-marked conversation): one line per word, what scoring tools such as sclite read.

Source: NIST SCTK, `doc/infmts.htm`, "ctm": `<file> <channel> <begin> <duration> <word> [<confidence>]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

from transcription_worker.formats.timed import timed_words
from transcription_worker.transcript import Transcript

_BREAKS_FIELDS = re.compile(r"[\s%;\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Whitespace parts the fields, `;;` opens a comment, and `%` has to stay unambiguous."""


def to_ctm(transcript: Transcript) -> bytes:
    """UTF-8, channel by channel, words in order; begin and duration in seconds with three decimals.

    The file field is the source key, percent-encoded where a character would break the line. Channels count from 1 as
    in NIST's own files: channel n of the .json is n + 1, all channels mixed are 1. Where there are no word times, they
    are the segment's, spread over its characters. No confidence, no sixth field.
    """
    return "".join(_lines(transcript)).encode()


def file_field(key: str) -> str:
    """The source key as one CTM field; `urllib.parse.unquote` gives the key back."""
    return _BREAKS_FIELDS.sub(lambda found: quote(found.group(), safe="", errors="surrogateescape"), key)


def _lines(transcript: Transcript) -> Iterator[str]:
    file = file_field(transcript.source.key)
    for channel in transcript.channels:
        number = 1 if channel.channel is None else channel.channel + 1
        for word in timed_words(channel):
            duration = max(0.0, word.end - word.start)
            confidence = "" if word.confidence is None else f" {word.confidence:.4f}"
            yield f"{file} {number} {word.start:.3f} {duration:.3f} {word.text}{confidence}\n"
