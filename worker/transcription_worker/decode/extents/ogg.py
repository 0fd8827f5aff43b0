"""Ogg (RFC 3533): pages declare their length, and the last page of a stream carries an end-of-stream mark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

from transcription_worker.decode.extents.extent import Extent, read_at

CAPTURE = b"OggS"
HEADER_BYTES = 27
MAX_PAGE_BYTES = HEADER_BYTES + 255 + 255 * 255
BEGINS, ENDS = 0x02, 0x04
AUDIO_HEADS = (b"OpusHead", b"\x01vorbis", b"\x7fFLAC", b"Speex   ")


@dataclass(frozen=True, slots=True)
class Page:
    """One page header; `end` is where the page ends, beyond the data where that is cut."""

    flags: int
    serial: int
    start: int
    body: int
    end: int


def ogg_extent(file: IO[bytes], size: int) -> Extent:
    start = max(0, size - 2 * MAX_PAGE_BYTES)
    tail = read_at(file, start, size - start)
    pages = list(_pages(tail))
    if not pages:
        return Extent(cut="it ends inside its first page")
    last = pages[-1]
    rest = tail[last.end :]
    if last.end > len(tail) or (rest and (CAPTURE.startswith(rest) or rest.startswith(CAPTURE))):
        return Extent(cut="it ends inside an Ogg page")
    ended = {page.serial for page in pages if page.flags & ENDS}
    begun = _beginnings(file)
    # A picture or a text track may go on behind the end of the sound; a stream that follows it may not be cut.
    if last.flags & ENDS or (last.serial in begun and any(begun[serial] for serial in ended & begun.keys())):
        return Extent(whole=True)
    return Extent(
        cut="its last page does not carry the end-of-stream mark (a file that is whole without it is "
        "repaired by `ffmpeg -i in.ogg -c copy out.ogg`)"
    )


def is_chained(file: IO[bytes], size: int) -> bool:
    """Whether another stream begins behind the first ones: libsndfile stops there without a word."""
    start = max(0, size - 2 * MAX_PAGE_BYTES)
    begun = _beginnings(file)
    return any(page.serial not in begun for page in _pages(read_at(file, start, size - start)))


def _beginnings(file: IO[bytes]) -> dict[int, bool]:
    """The serial numbers of the streams that begin with the file, and whether they are audio."""
    head = read_at(file, 0, MAX_PAGE_BYTES)
    return {page.serial: head.startswith(AUDIO_HEADS, page.body) for page in _pages(head) if page.flags & BEGINS}


def _pages(data: bytes) -> list[Page]:
    """All pages whose header lies in `data`, in order."""
    pages: list[Page] = []
    offset = data.find(CAPTURE)
    while offset >= 0:
        page = _parse(data, offset)
        if page is not None:
            pages.append(page)
        # Not offset + 4: what is taken for a page may be bytes of one.
        offset = data.find(CAPTURE, page.end if page is not None else offset + 1)
    return pages


def _parse(data: bytes, offset: int) -> Page | None:
    head = data[offset : offset + HEADER_BYTES]
    if len(head) < HEADER_BYTES or head[4] != 0:
        return None
    body = offset + HEADER_BYTES + head[26]
    table = data[offset + HEADER_BYTES : body]
    if len(table) < head[26]:
        return None
    return Page(head[5], int.from_bytes(head[14:18], "little"), offset, body, body + sum(table))
