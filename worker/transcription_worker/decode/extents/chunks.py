"""Containers made of chunks with their length in front: WAV, RF64, W64, AIFF, CAF, and AU with its single header.

Sources: RIFF (IBM/Microsoft 1991), EBU Tech 3306 (RF64), AIFF 1.3 and AIFF-C (Apple), the CAF specification (Apple),
Sony Pictures Digital's W64, and au(5).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from transcription_worker.decode.extents.extent import UNKNOWN, Extent, of_bytes, read_at

MAX_CHUNKS = 10_000
MAX_RATE = 1 << 32
NO_AUDIO = Extent(cut="it ends before its audio begins")

STREAMED_32 = (range(1), range(0x7FFF_EF00, 0x8000_0100), range(0xFFFF_FF00, 1 << 32))
"""Sizes that writers leave who cannot seek back: 0, nearly 2 GiB (espeak, sox, arecord), nearly 4 GiB (FFmpeg)."""

AU_SAMPLE_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 23: 0.5, 27: 1}


@dataclass(frozen=True, slots=True)
class Chunk:
    """`offset` is where the body begins, `length` that of the body as declared."""

    name: bytes
    offset: int
    length: int


def riff_extent(file: IO[bytes], size: int) -> Extent:
    """WAV and its 64-bit forms RF64 and BW64."""
    order = ">" if read_at(file, 0, 4) == b"RIFX" else "<"
    rate, bytes_per_second, data_length, samples = 0, None, None, None
    for chunk in _walk(file, size, 12, f"{order}4sI"):
        body = read_at(file, chunk.offset, 24)
        if chunk.name == b"fmt " and len(body) >= 16:
            _, channels, rate, _, _, bits = struct.unpack_from(f"{order}HHIIHH", body)
            # The average of bytes per second that stands beside them is wrong in many files, FFmpeg's ADPCM among them.
            bytes_per_second = rate * channels * (bits // 8) if bits >= 8 else None
        elif chunk.name == b"fact" and len(body) >= 4:
            samples = struct.unpack_from(f"{order}I", body)[0]
        elif chunk.name == b"ds64" and len(body) >= 16:
            data_length = struct.unpack_from("<Q", body, 8)[0]
        elif chunk.name == b"data":
            length = chunk.length
            if length == 0xFFFF_FFFF and data_length is not None:
                length = data_length
            elif _is_streamed(length):
                return UNKNOWN
            if bytes_per_second is None and samples and rate:
                bytes_per_second = length * rate / samples
            return of_bytes(length, size - chunk.offset, bytes_per_second)
    return NO_AUDIO


def w64_extent(file: IO[bytes], size: int) -> Extent:
    """Sony Wave64: names are GUIDs, lengths have 64 bits and include their own header."""
    bytes_per_second = None
    for chunk in _walk(file, size, 40, "<16sQ", header_counts=True, align=8):
        if chunk.name.startswith(b"fmt "):
            body = read_at(file, chunk.offset, 16)
            if len(body) == 16:
                bytes_per_second = struct.unpack_from("<HHII", body)[3]
        elif chunk.name.startswith(b"data"):
            if not 0 < chunk.length < 1 << 62:
                return UNKNOWN
            return of_bytes(chunk.length, size - chunk.offset, bytes_per_second)
    return NO_AUDIO


def aiff_extent(file: IO[bytes], size: int) -> Extent:
    """AIFF and AIFF-C: COMM declares frames and rate, SSND bytes, which begin with eight of its own."""
    seconds = None
    for chunk in _walk(file, size, 12, ">4sI"):
        if chunk.name == b"COMM":
            body = read_at(file, chunk.offset, 18)
            if len(body) == 18:
                frames = struct.unpack_from(">I", body, 2)[0]
                rate = _extended(body[8:18])
                seconds = frames / rate if rate > 0 else None
        elif chunk.name == b"SSND":
            if _is_streamed(chunk.length) or _is_streamed(chunk.length - 8):
                return UNKNOWN
            length = chunk.length - 8
            return of_bytes(length, max(0, size - chunk.offset - 8), length / seconds if seconds else None)
    return NO_AUDIO


def au_extent(file: IO[bytes], size: int) -> Extent:
    """Sun/NeXT AU, also in little-endian ("dns.")."""
    head = read_at(file, 0, 24)
    if len(head) < 24:
        return NO_AUDIO
    order = "<" if head[:4] == b"dns." else ">"
    offset, length, encoding, rate, channels = struct.unpack_from(f"{order}5I", head, 4)
    if length in STREAMED_32[-1]:
        return UNKNOWN
    return of_bytes(length, max(0, size - offset), AU_SAMPLE_BYTES.get(encoding, 0) * rate * channels)


def caf_extent(file: IO[bytes], size: int) -> Extent:
    """Core Audio Format. Packets of variable size need a table, `pakt`, that may stand behind the audio."""
    rate, bytes_per_second = 0.0, None
    packets_vary, seconds, audio = False, None, NO_AUDIO
    for chunk in _walk(file, size, 8, ">4sq", align=1):
        body = read_at(file, chunk.offset, 24)
        if chunk.name == b"desc" and len(body) == 24:
            rate, packet_bytes, packet_frames = struct.unpack(">d8xII", body)
            rate = rate if 0 < rate < MAX_RATE else 0.0
            packets_vary = packet_bytes == 0 or packet_frames == 0
            bytes_per_second = None if packets_vary else rate * packet_bytes / packet_frames
        elif chunk.name == b"pakt" and len(body) == 24 and rate > 0:
            seconds = struct.unpack_from(">q", body, 8)[0] / rate
        elif chunk.name == b"data":
            if chunk.length < 0:
                return UNKNOWN
            audio = of_bytes(chunk.length - 4, max(0, size - chunk.offset - 4), bytes_per_second)
    if audio.cut is None and packets_vary and seconds is None:
        return Extent(cut="the packet table (pakt) that stands at its end is missing")
    return audio if audio.cut is not None or seconds is None else Extent(seconds, whole=True)


def _walk(
    file: IO[bytes], size: int, start: int, layout: str, *, header_counts: bool = False, align: int = 2
) -> Iterator[Chunk]:
    """The chunks from `start` on that begin inside the file."""
    header = struct.Struct(layout)
    for _ in range(MAX_CHUNKS):
        head = read_at(file, start, header.size)
        if len(head) < header.size:
            return
        name, length = header.unpack(head)
        if header_counts:
            length -= header.size
        chunk = Chunk(name, start + header.size, length)
        yield chunk
        if length < 0:
            return
        start = chunk.offset + length + -length % align


def _is_streamed(length: int) -> bool:
    return any(length in sizes for sizes in STREAMED_32)


def _extended(body: bytes) -> float:
    """An 80-bit IEEE 754 number (SANE extended), as far as sample rates need it."""
    exponent, mantissa = struct.unpack(">HQ", body)
    return math.ldexp(mantissa, min(exponent & 0x7FFF, 16383 + 63) - 16383 - 63)
