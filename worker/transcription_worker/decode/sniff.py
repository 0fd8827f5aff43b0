"""Which container a file is, by its content and never by its name.

The answer picks the decoder: a file cannot talk its way to a demuxer that opens further files or connections
(playlists, DASH, concat scripts), for those have no place in this list.
"""

from __future__ import annotations

from enum import StrEnum
from typing import IO

from transcription_worker.decode.mpeg_audio import (
    begins_chain,
    find_chain,
    id3v2_length,
    parse_adts_header,
    parse_mpeg_header,
)

HEAD_BYTES = 1 << 16
CHAIN_FRAMES = 4
"""Frame headers in a row that make MPEG audio: four of them occur in 64 KiB of noise once in 10^14 files."""

W64_RIFF_GUID = bytes.fromhex("726966662e91cf11a5d628db04c10000")
MP4_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp")


class Container(StrEnum):
    """The containers that are read; the value is the word for messages."""

    WAV = "WAV"
    """With its 64-bit forms RF64 and BW64."""
    W64 = "W64"
    AIFF = "AIFF"
    AU = "AU"
    CAF = "CAF"
    FLAC = "FLAC"
    OGG = "Ogg"
    MP3 = "MP3"
    MP4 = "MP4"
    """With M4A, 3GP and QuickTime."""
    MATROSKA = "Matroska/WebM"
    ADTS = "AAC"
    AMR = "AMR"


def sniff(file: IO[bytes]) -> Container | None:
    """The container of a file, None for what is none of them. Moves the file's position."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    tag = 0
    while (length := id3v2_length(head)) > 0:
        # Tags of any size, and more than one, stand before MP3, AAC and sometimes FLAC.
        tag += length
        file.seek(tag)
        head = file.read(HEAD_BYTES)
    if tag and not head:
        return Container.MP3
    return _by_magic(head) or _by_frames(head)


def _by_magic(head: bytes) -> Container | None:
    start = head[:4]
    if start in (b"RIFF", b"RF64", b"BW64", b"RIFX"):
        return Container.WAV if head[8:12] in (b"WAVE", b"") else None
    if start == b"FORM":
        return Container.AIFF if head[8:12] in (b"AIFF", b"AIFC", b"") else None
    if head.startswith(W64_RIFF_GUID):
        return Container.W64
    if head.startswith(b"#!AMR"):
        return Container.AMR
    if head[4:8] in MP4_FIRST_BOXES:
        return Container.MP4
    return {
        b".snd": Container.AU,
        b"dns.": Container.AU,
        b"caff": Container.CAF,
        b"fLaC": Container.FLAC,
        b"OggS": Container.OGG,
        b"\x1a\x45\xdf\xa3": Container.MATROSKA,
    }.get(start)


def _by_frames(head: bytes) -> Container | None:
    if begins_chain(head, 0, parse_adts_header, CHAIN_FRAMES):
        return Container.ADTS
    if begins_chain(head, 0, parse_mpeg_header, CHAIN_FRAMES):
        return Container.MP3
    # Recorders that cut a running stream leave half a frame at the start.
    aac, mp3 = (find_chain(head, parse, CHAIN_FRAMES) for parse in (parse_adts_header, parse_mpeg_header))
    if aac is None and mp3 is None:
        return None
    return Container.MP3 if aac is None or (mp3 is not None and mp3 < aac) else Container.ADTS
