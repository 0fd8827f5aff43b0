"""Matroska and WebM (RFC 9559 on EBML, RFC 8794): elements declare their length, or that it is not known.

A live recording (browsers write those) knows neither its segment's length nor its duration: a cut between two of its
blocks leaves no trace.
"""

from __future__ import annotations

from typing import IO

from transcription_worker.decode.extents.extent import UNKNOWN, Extent, read_at

EBML, SEGMENT, CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
WINDOW_BYTES = 1 << 16
MAX_HEADER_BYTES = 12


def matroska_extent(file: IO[bytes], size: int) -> Extent:
    offset = 0
    live = False
    walker = _Elements(file)
    while offset < size:
        element = walker.at(offset)
        if element is None:
            if size - offset < MAX_HEADER_BYTES:
                return Extent(cut="it ends inside an element's header")
            return UNKNOWN
        name, body, length = element
        if length is None:
            # Segment and clusters of unknown length: their children follow, one after the other.
            if name not in (SEGMENT, CLUSTER):
                return UNKNOWN
            live = True
            offset = body
        elif body + length > size:
            missing = body + length - size
            return Extent(cut=f"its header declares {missing:,} bytes more than the file has")
        elif name == SEGMENT and offset + length < size:
            return Extent(whole=True)
        else:
            offset = body + length
    return Extent(whole=not live)


class _Elements:
    """Element headers, read through a window: live recordings have one for every 20 to 60 ms."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._start = 0
        self._window = b""

    def at(self, offset: int) -> tuple[int, int, int | None] | None:
        """ID, where the body begins, its length (None: unknown); None where no whole header stands at `offset`."""
        if not self._start <= offset <= self._start + len(self._window) - MAX_HEADER_BYTES:
            self._start, self._window = offset, read_at(self._file, offset, WINDOW_BYTES)
        head = self._window[offset - self._start : offset - self._start + MAX_HEADER_BYTES]
        name_length = _width(head, 0, 4)
        if name_length is None:
            return None
        size_length = _width(head, name_length, 8)
        if size_length is None or len(head) < name_length + size_length:
            return None
        name = int.from_bytes(head[:name_length], "big")
        marked = int.from_bytes(head[name_length : name_length + size_length], "big")
        length = marked & (1 << 7 * size_length) - 1
        unknown = length == (1 << 7 * size_length) - 1
        return name, offset + name_length + size_length, None if unknown else length


def _width(head: bytes, offset: int, longest: int) -> int | None:
    """How many bytes the variable-size integer at `offset` has: the leading zeros of its first byte, and one."""
    if offset >= len(head):
        return None
    width = 9 - head[offset].bit_length()
    return width if width <= longest else None
