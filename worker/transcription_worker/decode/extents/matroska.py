"""Matroska and WebM (RFC 9559 on EBML, RFC 8794): elements declare their length, or that it is not known.

A live recording (browsers write those) knows neither its segment's length nor its duration: a cut between two of its
blocks leaves no trace.
"""

from __future__ import annotations

from typing import IO

from transcription_worker.decode.extents.extent import Extent, read_at

SEGMENT, CLUSTER, SIMPLE_BLOCK, BLOCK_GROUP = 0x18538067, 0x1F43B675, 0xA3, 0xA0
WINDOW_BYTES = 1 << 14
MAX_HEADER_BYTES = 12


def matroska_extent(file: IO[bytes], size: int) -> Extent:
    """Walks segments and clusters down to their blocks: demuxers jump over what is damaged without a word."""
    offset, live, segment_end, cluster_end = 0, False, None, 0
    elements = _Elements(file)
    while offset < (segment_end or size):
        element = elements.at(offset)
        if element is None:
            if size - offset < MAX_HEADER_BYTES:
                return Extent(cut="it ends inside an element's header")
            return _damage(offset)
        name, body, length = element
        end = None if length is None else body + length
        if end is not None and end > size:
            if segment_end is not None or (cluster_end and name not in (CLUSTER, SIMPLE_BLOCK, BLOCK_GROUP)):
                return _damage(offset)
            return Extent(cut=f"its header declares {end - size:,} bytes more than the file has")
        if name == SEGMENT:
            live, segment_end, offset = live or end is None, end, body
        elif name == CLUSTER:
            live, cluster_end, offset = live or end is None, end or size, body
        elif end is None or offset < cluster_end < end:
            return _damage(offset)
        else:
            offset = end
    return Extent(whole=not live)


def _damage(offset: int) -> Extent:
    return Extent(damage=f"what stands at byte {offset:,} is no Matroska")


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
