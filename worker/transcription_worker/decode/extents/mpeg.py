"""MP3 and AAC in ADTS: whether the last frame is whole, and what a Xing, Info or VBRI header declares.

A cut that falls between two frames of a file without such a header leaves no trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

from transcription_worker.decode.extents.extent import TOLERANCE_SECONDS, UNKNOWN, Extent, read_at, without_tags
from transcription_worker.decode.mpeg_audio import (
    ADTS_HEADER_BYTES,
    MPEG_HEADER_BYTES,
    FrameHeader,
    ParseHeader,
    find_chain,
    id3v2_length,
    parse_adts_header,
    parse_mpeg_header,
)

WINDOW_BYTES = 1 << 16
CHAIN_FRAMES = 3
HAS_FRAMES, HAS_BYTES, HAS_TOC, HAS_QUALITY = 1, 2, 4, 8
VBRI_OFFSET = MPEG_HEADER_BYTES + 32
INCOMPLETE = Extent(cut="its last frame is incomplete")


@dataclass(frozen=True, slots=True)
class VbrHeader:
    """What the first, silent frame of an MP3 declares: samples without the encoder's padding, bytes if it says so."""

    samples: int
    length: int | None


def mp3_extent(file: IO[bytes], size: int) -> Extent:
    start, size = _skip_tags(file), without_tags(file, size)
    if start >= size:
        return Extent(cut="it ends inside its tags, before its audio begins")
    head = read_at(file, start, WINDOW_BYTES)
    offset = find_chain(head, parse_mpeg_header, CHAIN_FRAMES)
    first = parse_mpeg_header(head, offset) if offset is not None else None
    if offset is None or first is None:
        return UNKNOWN
    vbr = _vbr_header(head[offset : offset + first.length], first)
    if vbr is None:
        return _last_frame(file, start, size, parse_mpeg_header, MPEG_HEADER_BYTES)
    if vbr.samples <= 0:
        return Extent(0.0, whole=True) if size - start - offset <= first.length else Extent(stale=True)
    seconds = vbr.samples / first.sample_rate
    if vbr.length is None:
        return Extent(seconds)
    # Writers count their own frame or not: the bytes only tell roughly, once the decoder has counted the samples.
    missing = vbr.length - (size - start - offset)
    if missing < -(TOLERANCE_SECONDS * vbr.length / seconds + first.length):
        return Extent(stale=True)
    return Extent(seconds, whole=missing <= first.length)


def adts_extent(file: IO[bytes], size: int) -> Extent:
    start, size = _skip_tags(file), without_tags(file, size)
    if start >= size:
        return Extent(cut="it ends inside its tags, before its audio begins")
    return _last_frame(file, start, size, parse_adts_header, ADTS_HEADER_BYTES)


def _skip_tags(file: IO[bytes]) -> int:
    start = 0
    while (length := id3v2_length(read_at(file, start, 10))) > 0:
        start += length
    return start


def _vbr_header(frame: bytes, header: FrameHeader) -> VbrHeader | None:
    """Xing and Info (with LAME's delay and padding behind them), or Fraunhofer's VBRI."""
    offset = MPEG_HEADER_BYTES + header.side_info_bytes
    if frame[offset : offset + 4] in (b"Xing", b"Info") and len(frame) >= offset + 8:
        flags = frame[offset + 7]
        offset += 8
        frames, length = 0, None
        if flags & HAS_FRAMES:
            frames = int.from_bytes(frame[offset : offset + 4], "big")
            offset += 4
        if flags & HAS_BYTES:
            length = int.from_bytes(frame[offset : offset + 4], "big") or None
            offset += 4
        offset += (100 if flags & HAS_TOC else 0) + (4 if flags & HAS_QUALITY else 0)
        padding = int.from_bytes(frame[offset + 21 : offset + 24], "big") if len(frame) >= offset + 24 else 0
        samples = frames * header.samples - (padding >> 12) - (padding & 0xFFF)
        return VbrHeader(samples if frames else 0, length)
    if frame[VBRI_OFFSET : VBRI_OFFSET + 4] == b"VBRI":
        length, frames = (int.from_bytes(frame[VBRI_OFFSET + n : VBRI_OFFSET + n + 4], "big") for n in (10, 14))
        return VbrHeader(frames * header.samples, length or None)
    return None


def _last_frame(file: IO[bytes], start: int, size: int, parse: ParseHeader, header_bytes: int) -> Extent:
    begin = max(start, size - WINDOW_BYTES)
    tail = read_at(file, begin, size - begin)
    offset = find_chain(tail, parse, CHAIN_FRAMES)
    if offset is None:
        return UNKNOWN
    while True:
        header = parse(tail, offset)
        if header is not None:
            offset += header.length
            if offset > len(tail):
                return INCOMPLETE
            continue
        rest = tail[offset:]
        if not rest:
            return Extent(whole=True)
        if len(rest) < header_bytes and rest[0] == 0xFF:
            return INCOMPLETE
        again = find_chain(rest, parse, CHAIN_FRAMES)
        if again is None:
            # Padding, or a tag of another kind, behind the last frame.
            return Extent(whole=True)
        offset += again
