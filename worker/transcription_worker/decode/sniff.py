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

LEAD_IN_BYTES = 1 << 13
"""More than the longest frame."""

W64_RIFF_GUID = bytes.fromhex("726966662e91cf11a5d628db04c10000")
FOREIGN = (
    b"RIFF",
    b"FORM",
    b"FLV",
    b"\x30\x26\xb2\x75",
    b"\x00\x00\x01\xba",
    b"MZ",
    b"PK",
    b"\x7fELF",
    b"%PDF",
    b"\x89PNG",
)
"""AVI and its kin, Flash, ASF (WMA), MPEG program streams; and files that nobody takes for audio."""

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
    return _by_magic(head) or (None if _is_foreign(head) else _by_frames(head))


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


def _is_foreign(head: bytes) -> bool:
    """Containers that are not read here, but whose payload may look like MPEG audio a few bytes further on."""
    transport_stream = head[0:1] == head[188:189] == head[376:377] == b"G"
    return transport_stream or head.startswith(FOREIGN)


def _by_frames(head: bytes) -> Container | None:
    if begins_chain(head, 0, parse_adts_header, CHAIN_FRAMES):
        return Container.ADTS
    if begins_chain(head, 0, parse_mpeg_header, CHAIN_FRAMES):
        return Container.MP3
    # Recorders that cut a running stream leave half a frame at the start.
    head = head[: 2 * LEAD_IN_BYTES]
    aac, mp3 = (find_chain(head, parse, CHAIN_FRAMES) for parse in (parse_adts_header, parse_mpeg_header))
    found = [(start, name) for start, name in ((aac, Container.ADTS), (mp3, Container.MP3)) if start is not None]
    start, name = min(found, default=(LEAD_IN_BYTES, None))
    return name if start < LEAD_IN_BYTES else None
