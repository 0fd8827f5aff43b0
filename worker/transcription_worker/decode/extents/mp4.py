"""MP4, M4A, 3GP and QuickTime (ISO/IEC 14496-12): boxes declare their length; the index (moov) may stand at the end.

A fragmented file that is cut between two fragments leaves no trace, unless its header declares a duration.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

from transcription_worker.decode.extents.extent import Extent, read_at

MAX_BOXES = 1_000_000
NEEDED = (b"mdat", b"moov", b"moof")


def mp4_extent(file: IO[bytes], size: int) -> Extent:
    seen = set()
    last = b""
    for name, end in _boxes(file, size):
        if end > size and name in NEEDED:
            missing = end - size
            return Extent(cut=f"its {_print(name)} box declares {missing:,} bytes more than the file has")
        seen.add(name)
        last = name if name in NEEDED else last
    if b"moov" not in seen:
        return Extent(cut="the index (moov) that stands at its end is missing")
    if last == b"moof":
        return Extent(cut="it ends before the audio of its last fragment")
    return Extent(whole=b"moof" not in seen)


def _boxes(file: IO[bytes], size: int) -> Iterator[tuple[bytes, int]]:
    """Name and declared end of the boxes of the top level that begin inside the file."""
    offset = 0
    for _ in range(MAX_BOXES):
        head = read_at(file, offset, 16)
        if len(head) < 8:
            return
        length, name = struct.unpack_from(">I4s", head)
        if length == 1 and len(head) == 16:
            length = struct.unpack_from(">Q", head, 8)[0]
        elif length == 0:
            length = size - offset
        if length < 8:
            return
        offset += length
        yield name, offset


def _print(name: bytes) -> str:
    return name.decode("ascii", "replace")
