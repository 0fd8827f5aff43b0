"""MP3 and AAC in ADTS: what a Xing, Info or VBRI header declares, or else whether all frames are whole.

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


@dataclass(frozen=True, slots=True)
class Syntax:
    """How a frame's header is read, how long it is, and what no frame exceeds."""

    parse: ParseHeader
    header_bytes: int
    longest: int


MPEG = Syntax(parse_mpeg_header, MPEG_HEADER_BYTES, 3 << 10)
ADTS = Syntax(parse_adts_header, ADTS_HEADER_BYTES, 1 << 13)


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
    if size - start - offset < first.length:
        return Extent(cut="it ends inside its first frame")
    vbr = _vbr_header(head[offset : offset + first.length], first)
    if vbr is None:
        return _walked(file, start, size, MPEG)
    if vbr.samples <= 0:
        return Extent(0.0, whole=True) if size - start - offset <= first.length else Extent(stale=True)
    seconds = vbr.samples / first.sample_rate
    if vbr.length is None:
        return Extent(seconds)
    # Writers count their own frame or not, so the bytes only say what it means if too few samples come out.
    missing = vbr.length - (size - start - offset)
    if missing < -(TOLERANCE_SECONDS * vbr.length / seconds + first.length):
        return Extent(stale=True)
    return Extent(seconds, whole=missing <= 0)


def adts_extent(file: IO[bytes], size: int) -> Extent:
    start, size = _skip_tags(file), without_tags(file, size)
    if start >= size:
        return Extent(cut="it ends inside its tags, before its audio begins")
    return _walked(file, start, size, ADTS)


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


def _walked(file: IO[bytes], start: int, size: int, syntax: Syntax) -> Extent:
    """The extent of a stream that declares nothing: all its frames, one after the other.

    Decoders jump over what is no frame without a word; more than 0.1 s of it is damage.
    """
    seconds = 0.0
    frame_bytes = skipped = 0
    window = _Window(file, start, size, (CHAIN_FRAMES + 1) * syntax.longest)
    while (rest := window.rest()) > 0:
        header = syntax.parse(window.data, window.offset)
        if header is not None:
            if header.length > rest:
                return Extent(cut=f"its last frame, after {seconds:.1f} s, is incomplete")
            seconds += header.samples / header.sample_rate
            frame_bytes += header.length
            window.advance(header.length)
        elif rest < syntax.header_bytes and window.data[window.offset] == 0xFF:
            return Extent(cut=f"its last frame, after {seconds:.1f} s, is incomplete")
        elif (tag := id3v2_length(window.data[window.offset : window.offset + 10])) > 0:
            window.advance(tag)
        else:
            gap = find_chain(window.data[window.offset :], syntax.parse, CHAIN_FRAMES)
            if gap is None and window.at_end():
                # Padding, or a tag of another kind, behind the last frame.
                break
            gap = window.step() if gap is None else gap
            skipped += gap if frame_bytes else 0
            window.advance(gap)
    if seconds and skipped * seconds > TOLERANCE_SECONDS * frame_bytes:
        return Extent(damage=f"{skipped:,} bytes between its frames are no audio")
    return Extent(seconds or None, whole=True)


class _Window:
    """A stretch of the file that holds at least `margin` bytes from `offset` on, or all that is left."""

    def __init__(self, file: IO[bytes], start: int, size: int, margin: int) -> None:
        self._file, self._size, self._margin = file, size, margin
        self._load(start)

    def rest(self) -> int:
        return self._size - self._start - self.offset

    def at_end(self) -> bool:
        return self._start + len(self.data) >= self._size

    def step(self) -> int:
        """How far one may go from `offset` where no chain of frames begins in what is loaded."""
        return max(1, len(self.data) - self.offset - self._margin)

    def advance(self, length: int) -> None:
        self.offset += length
        if len(self.data) - self.offset < self._margin and not self.at_end():
            self._load(self._start + self.offset)

    def _load(self, position: int) -> None:
        self._start, self.offset = position, 0
        self.data = read_at(self._file, position, min(WINDOW_BYTES + self._margin, max(0, self._size - position)))
