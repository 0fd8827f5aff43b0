"""Frame headers of MPEG audio (ISO/IEC 11172-3, 13818-3) and of AAC in ADTS (ISO/IEC 13818-7), and ID3v2 tags.

Both are streams of self-describing frames without an index: a file is recognised, and its end judged, by headers that
follow one another at the distances they themselves declare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

BITRATES_KBPS = {
    # (MPEG-1, layer): the fourteen values of the bit rate field.
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
MPEG_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
ADTS_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)

MPEG_HEADER_BYTES = 4
ADTS_HEADER_BYTES = 7


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """One frame: its length with its header, the samples (per channel) it decodes to, and what may not change."""

    length: int
    samples: int
    sample_rate: int
    stream: tuple[int, ...]
    """Equal for all frames of one stream."""
    side_info_bytes: int = 0
    """MPEG layer III: what lies between the header and the main data, where a Xing header would begin."""


ParseHeader = Callable[[bytes, int], FrameHeader | None]


def parse_mpeg_header(data: bytes, offset: int) -> FrameHeader | None:
    """The MPEG audio frame that begins at `offset`, or None. Free format (no bit rate) is not known."""
    if len(data) < offset + MPEG_HEADER_BYTES or data[offset] != 0xFF or data[offset + 1] & 0xE0 != 0xE0:
        return None
    second, third, fourth = data[offset + 1 : offset + MPEG_HEADER_BYTES]
    version, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
    bitrate_index, rate_index, padding = third >> 4, third >> 2 & 3, third >> 1 & 1
    if version == 1 or layer == 4 or bitrate_index in (0, 15) or rate_index == 3:
        return None
    mpeg1, mono = version == 3, fourth >> 6 == 3
    rate = MPEG_RATES[version][rate_index]
    bits_per_second = BITRATES_KBPS[mpeg1, layer][bitrate_index - 1] * 1000
    if layer == 1:
        samples, length = 384, (12 * bits_per_second // rate + padding) * 4
    else:
        samples = 1152 if mpeg1 or layer == 2 else 576
        length = samples // 8 * bits_per_second // rate + padding
    side_info = (17 if mono else 32) if mpeg1 else (9 if mono else 17)
    return FrameHeader(length, samples, rate, (version, layer, rate_index), side_info if layer == 3 else 0)


def parse_adts_header(data: bytes, offset: int) -> FrameHeader | None:
    """The ADTS frame that begins at `offset`, or None."""
    if len(data) < offset + ADTS_HEADER_BYTES or data[offset] != 0xFF or data[offset + 1] & 0xF6 != 0xF0:
        return None
    rate_index = data[offset + 2] >> 2 & 15
    length = (data[offset + 3] & 3) << 11 | data[offset + 4] << 3 | data[offset + 5] >> 5
    if rate_index >= len(ADTS_RATES) or length < ADTS_HEADER_BYTES:
        return None
    blocks = (data[offset + 6] & 3) + 1
    return FrameHeader(length, 1024 * blocks, ADTS_RATES[rate_index], (data[offset + 1], rate_index))


def begins_chain(data: bytes, offset: int, parse: ParseHeader, frames: int) -> bool:
    """Whether `frames` frames of one stream follow one another from `offset` on, or as many as reach the end."""
    first = header = parse(data, offset)
    for _ in range(frames - 1):
        if header is None or first is None:
            return False
        offset += header.length
        if offset >= len(data):
            return True
        header = parse(data, offset)
        if header is None or header.stream != first.stream:
            return False
    return header is not None


def find_chain(data: bytes, parse: ParseHeader, frames: int) -> int | None:
    """The first offset at which a chain begins (see `begins_chain`), or None."""
    offset = data.find(0xFF)
    while offset >= 0:
        if begins_chain(data, offset, parse, frames):
            return offset
        offset = data.find(0xFF, offset + 1)
    return None


def id3v2_length(head: bytes) -> int:
    """Length of the ID3v2 tag that `head` begins with, 0 without one (id3.org, ID3v2.4.0 section 3.1)."""
    if len(head) < 10 or head[:3] != b"ID3" or any(byte & 0x80 for byte in head[6:10]):
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    footer = 10 if head[5] & 0x10 else 0
    return 10 + size + footer
