"""Ogg (RFC 3533): pages declare their length, and the last page of a stream carries an end-of-stream mark.

All pages are walked, and their checksums tested: libogg drops a page that fails its own, FFmpeg decodes it.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import IO

from transcription_worker.decode.extents.extent import Extent, read_at

CAPTURE = b"OggS"
HEADER_BYTES = 27
MAX_PAGE_BYTES = HEADER_BYTES + 255 + 255 * 255
BEGINS, ENDS = 0x02, 0x04
AUDIO_HEADS = (b"OpusHead", b"\x01vorbis", b"\x7fFLAC", b"Speex   ")
TOLD_APART = (b"\x01vorbis", b"\x7fFLAC")
"""Of these FFmpeg hears the second link of a chain also under the serial number of the first; of Opus it drops it."""

NO_END = Extent(
    cut="its last page does not carry the end-of-stream mark (a file that is whole without it is repaired by "
    "`ffmpeg -i in.ogg -c copy out.ogg`)"
)


@dataclass(frozen=True, slots=True)
class Page:
    flags: int
    serial: int
    checksum: int
    length: int
    head: bytes
    """The first bytes of the body: at the beginning of a stream they name its codec."""


CHECKSUM = 22
MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def page_checksum(page: bytes) -> int:
    """CRC-32 of a page with its checksum field empty (RFC 3533, section 6).

    zlib has the same polynomial, but takes the bits of each byte from the other end and inverts before and after.
    """
    empty = page[:CHECKSUM] + bytes(4) + page[CHECKSUM + 4 :]
    mirrored = zlib.crc32(empty.translate(MIRRORED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def ogg_extent(file: IO[bytes], size: int) -> Extent:
    audio: set[int] = set()
    open_streams: set[int] = set()
    serials: set[int] = set()
    links: list[list[bytes]] = []
    offset = skipped = 0
    last = None
    while offset < size:
        page = _page(read_at(file, offset, HEADER_BYTES + 255 + 8))
        if page is None:
            rest = read_at(file, offset, MAX_PAGE_BYTES)
            if len(rest) < HEADER_BYTES + 255 and CAPTURE.startswith(rest[: len(CAPTURE)]):
                return Extent(cut="it ends inside an Ogg page")
            following = rest.find(CAPTURE, 1)
            gap = following if following > 0 else max(1, len(rest) - len(CAPTURE))
            skipped += gap
            offset += gap
            continue
        if offset + page.length > size:
            return Extent(cut="it ends inside an Ogg page")
        if skipped:
            return Extent(damage=f"{skipped:,} bytes between its pages are no Ogg")
        if page_checksum(read_at(file, offset, page.length)) != page.checksum:
            return Extent(damage=f"the Ogg page at byte {offset:,} fails its checksum")
        if page.flags & BEGINS:
            # Streams side by side all begin before any goes on; one that begins later is the next link of a chain.
            if last is None or not last.flags & BEGINS:
                links.append([])
                audio.clear()
                open_streams.clear()
            if page.serial in serials and not page.head.startswith(TOLD_APART):
                return Extent(damage="two of its streams carry the same serial number, so that one would go unheard")
            links[-1].append(page.head)
            serials.add(page.serial)
            open_streams.add(page.serial)
            if page.head.startswith(AUDIO_HEADS):
                audio.add(page.serial)
        if page.flags & ENDS:
            open_streams.discard(page.serial)
        offset += page.length
        last = page
    # A picture may go on behind the end of the sound.
    if audio & open_streams or (not audio and open_streams):
        return NO_END
    if any(sorted(link) != sorted(links[0]) for link in links):
        return Extent(damage="it was joined from parts with different streams")
    return Extent(whole=True, stale=len(links) > 1)


def _page(data: bytes) -> Page | None:
    """The page that `data` begins with."""
    if len(data) < HEADER_BYTES or not data.startswith(CAPTURE) or data[4] != 0:
        return None
    body = HEADER_BYTES + data[26]
    if len(data) < body:
        return None
    length = body + sum(data[HEADER_BYTES:body])
    serial, checksum = (int.from_bytes(data[at : at + 4], "little") for at in (14, CHECKSUM))
    return Page(data[5], serial, checksum, length, data[body : body + 8])
