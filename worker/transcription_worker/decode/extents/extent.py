"""What a container's structure says about its own length and whether the file has all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

TOLERANCE_SECONDS = 0.1
"""Less audio than this may be missing: writers are off by a header or a frame, and no word is that short."""

MAX_OFFSET = 1 << 43
"""File systems refuse to seek much further."""


@dataclass(frozen=True, slots=True)
class Extent:
    """`cut` is the second half of the sentence "x is truncated: ...", `damage` of "x is damaged: ...", or None.

    `declared_seconds` is what the header says, where the parser knows it. `whole` means that the container proves that
    the file ends where it should: if less comes out of the decoder than declared, the file is damaged, not cut.
    `stale` means that more follows than the header knows of: a decoder that believes it would stop early.
    """

    declared_seconds: float | None = None
    cut: str | None = None
    damage: str | None = None
    whole: bool = False
    stale: bool = False


UNKNOWN = Extent()


def of_bytes(declared: int, present: int, bytes_per_second: float | None) -> Extent:
    """The extent of audio whose length is declared in bytes; `bytes_per_second` None where it is not known."""
    missing = declared - present
    if not bytes_per_second:
        cut = f"its header declares {declared:,} bytes of audio, {present:,} are there" if missing > 0 else None
        return Extent(cut=cut, whole=cut is None)
    seconds = declared / bytes_per_second
    if missing <= TOLERANCE_SECONDS * bytes_per_second:
        return Extent(seconds, whole=True)
    return Extent(
        seconds, f"its header declares {seconds:.1f} s, the file ends after {present / bytes_per_second:.1f} s"
    )


def read_at(file: IO[bytes], offset: int, length: int) -> bytes:
    """Up to `length` bytes from `offset`; fewer, or none, where the file ends. Any offset, for headers lie."""
    if not 0 <= offset < MAX_OFFSET:
        return b""
    file.seek(offset)
    return file.read(length)


def without_tags(file: IO[bytes], size: int) -> int:
    """Where audio made of frames ends: before ID3v1 (128 bytes) and APE tags (their footer tells their length)."""
    if read_at(file, max(0, size - 128), 3) == b"TAG":
        size -= 128
    footer = read_at(file, max(0, size - 32), 32)
    if footer.startswith(b"APETAGEX"):
        header = 32 if footer[23] & 0x80 else 0
        size -= int.from_bytes(footer[12:16], "little") + header
    return max(0, size)
