"""FLAC (RFC 9639): the header declares the samples, the last frame says how many there are.

No frame declares its length; what ends the file is found by its header, which carries a CRC-8, and confirmed by the
CRC-16 that closes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

from transcription_worker.decode.extents.extent import TOLERANCE_SECONDS, UNKNOWN, Extent, read_at, without_tags
from transcription_worker.decode.mpeg_audio import id3v2_length

TAIL_BYTES = 1 << 18
"""More than the largest frame that encoders write (65,535 samples would need twice that; subset streams 4,608)."""

BLOCK_SIZES = {1: 192, **{n: 576 << (n - 2) for n in range(2, 6)}, **{n: 256 << (n - 8) for n in range(8, 16)}}
MAX_CRCS = 16


def _crc_table(polynomial: int, bits: int) -> tuple[int, ...]:
    top, mask = 1 << (bits - 1), (1 << bits) - 1
    table = []
    for value in range(256):
        crc = value << (bits - 8)
        for _ in range(8):
            crc = (crc << 1 ^ polynomial if crc & top else crc << 1) & mask
        table.append(crc)
    return tuple(table)


CRC8 = _crc_table(0x07, 8)
CRC16 = _crc_table(0x8005, 16)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame header: where it stands, the samples before the frame and in it."""

    offset: int
    first_sample: int
    samples: int


def flac_extent(file: IO[bytes], size: int) -> Extent:
    tag = id3v2_length(read_at(file, 0, 10))
    audio = _skip_metadata(file, tag + 4)
    info = read_at(file, tag + 8, 34)
    if audio is None or audio > size or len(info) < 34:
        return Extent(cut="it ends before its audio begins")
    block_size = int.from_bytes(info[2:4], "big")
    rate = int.from_bytes(info[10:13], "big") >> 4
    total = int.from_bytes(info[13:18], "big") & (1 << 36) - 1
    if rate == 0:
        return UNKNOWN
    if audio == size and total == 0:
        return Extent(0.0, whole=True)
    size = without_tags(file, size)
    start = max(audio, size - TAIL_BYTES)
    tail = read_at(file, start, size - start)
    frames = _frames(tail, _stream_mark(read_at(file, audio, 4)), block_size)
    ending = next((frame for frame in frames[-MAX_CRCS:][::-1] if _crc(CRC16, 16, tail[frame.offset :]) == 0), None)
    if ending is not None:
        reached, whole = ending.first_sample + ending.samples, True
    elif frames or audio == size:
        reached, whole = frames[-1].first_sample if frames else 0, False
    else:
        return Extent(total / rate if total else None)
    if total and (not whole or (total - reached) / rate > TOLERANCE_SECONDS):
        return Extent(
            total / rate, f"its header declares {total / rate:.1f} s, the file ends after {reached / rate:.1f} s"
        )
    if not whole:
        return Extent(cut=f"its last frame, after {reached / rate:.1f} s, is incomplete")
    return Extent(total / rate if total else None, whole=True)


def _skip_metadata(file: IO[bytes], offset: int) -> int | None:
    """Where the audio begins."""
    while len(head := read_at(file, offset, 4)) == 4:
        offset += 4 + int.from_bytes(head[1:], "big")
        if head[0] & 0x80:
            return offset
    return None


def _stream_mark(head: bytes) -> tuple[int, ...]:
    """What is the same in all frame headers of a stream: sync and strategy, sample rate, bits per sample."""
    return (head[0], head[1], head[2] & 15, head[3] & 15) if len(head) == 4 else ()


def _frames(data: bytes, mark: tuple[int, ...], block_size: int) -> list[Frame]:
    frames = []
    offset = data.find(b"\xff")
    while offset >= 0:
        if _stream_mark(data[offset : offset + 4]) == mark:
            frame = _parse_frame(data, offset, block_size)
            if frame is not None:
                frames.append(frame)
        offset = data.find(b"\xff", offset + 1)
    return frames


def _parse_frame(data: bytes, offset: int, block_size: int) -> Frame | None:
    """The header at `offset` (RFC 9639, section 9.1), None unless its CRC-8 is right."""
    head = data[offset : offset + 16]
    if len(head) < 6 or head[1] & 0xFE != 0xF8:
        return None
    variable = head[1] & 1
    size_code, rate_code = head[2] >> 4, head[2] & 15
    number, position = _coded_number(head, 4)
    if number is None or size_code == 0:
        return None
    samples = BLOCK_SIZES.get(size_code, 0)
    if size_code in (6, 7):
        width = size_code - 5
        samples = int.from_bytes(head[position : position + width], "big") + 1
        position += width
    position += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if position >= len(head) or _crc(CRC8, 8, head[:position]) != head[position]:
        return None
    return Frame(offset, number if variable else number * block_size, samples)


def _coded_number(head: bytes, offset: int) -> tuple[int | None, int]:
    """A number coded as UTF-8 codes code points, up to 36 bits; and where it ends."""
    first = head[offset]
    length = 8 - (first ^ 0xFF).bit_length()
    if length == 0:
        return first, offset + 1
    rest = head[offset + 1 : offset + length]
    if length in (1, 8) or len(rest) < length - 1 or any(byte & 0xC0 != 0x80 for byte in rest):
        return None, offset
    number = first & (1 << (7 - length)) - 1
    for byte in rest:
        number = number << 6 | byte & 0x3F
    return number, offset + length


def _crc(table: tuple[int, ...], bits: int, data: bytes) -> int:
    crc, shift, mask = 0, bits - 8, (1 << bits) - 1
    for byte in data:
        crc = (crc << 8 ^ table[crc >> shift ^ byte]) & mask
    return crc
