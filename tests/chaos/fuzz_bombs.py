"""Small files that ask for much: hours of sound, gigabytes of tables, endless structure. Each is built when called.

What they become is asserted in `fuzz.py`: a reason, in bounded time and memory.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Callable

from tests.chaos.fuzz_mutations import seal_ogg_pages
from transcription_worker.decode.extents.flac import CRC8, CRC16

HOUR = 3600
SIZE_UNKNOWN = bytes.fromhex("01ffffffffffffff")
LONGEST_FLAC_BLOCK = 65_535
OPUS_HEAD = b"OpusHead" + struct.pack("<BBHIHB", 1, 1, 0, 48_000, 0, 0)


def _crc(table: tuple[int, ...], bits: int, data: bytes) -> bytes:
    crc = 0
    for byte in data:
        crc = (crc << 8 ^ table[crc >> (bits - 8) ^ byte]) & (1 << bits) - 1
    return crc.to_bytes(bits // 8, "big")


def _coded(number: int) -> bytes:
    """As UTF-8, and on to 31 bits (RFC 9639, section 9.1.5)."""
    if number < 0x80:
        return bytes((number,))
    tail = b""
    while number >= 1 << (6 - len(tail)):
        tail = bytes((0x80 | number & 0x3F,)) + tail
        number >>= 6
    return bytes((0xFF << (7 - len(tail)) & 0xFF | number,)) + tail


def flac_of_silence(hours: int, *, declared: bool, channels: int = 1) -> bytes:
    """14 bytes for 8 seconds: constant subframes of the longest block."""
    blocks = hours * HOUR * 8_000 // LONGEST_FLAC_BLOCK + 1
    total = blocks * LONGEST_FLAC_BLOCK if declared else 0
    info = struct.pack(">HH", LONGEST_FLAC_BLOCK, LONGEST_FLAC_BLOCK) + bytes(6)
    info += (8_000 << 44 | (channels - 1) << 41 | 15 << 36 | total).to_bytes(8, "big") + bytes(16)
    out = [b"fLaC\x80\0\0\x22", info]
    for number in range(blocks):
        head = bytes((0xFF, 0xF8, 0x70, (channels - 1) << 4)) + _coded(number) + b"\xff\xfe"
        frame = head + _crc(CRC8, 8, head) + bytes(3 * channels)
        out.append(frame + _crc(CRC16, 16, frame))
    return b"".join(out)


def opus_of_silence(hours: int) -> bytes:
    """Packets of two bytes hold 120 ms that the encoder left out (RFC 6716, section 3.2.5)."""
    packet, packets = bytes((0x1B, 2)), 255
    pages = hours * HOUR * 25 // (3 * packets) + 1
    out = [_ogg_page(2, 0, 0, [OPUS_HEAD]), _ogg_page(0, 0, 1, [b"OpusTags" + bytes(8)])]
    for number in range(pages):
        last = 4 if number == pages - 1 else 0
        out.append(_ogg_page(last, (number + 1) * packets * 5_760, number + 2, [packet] * packets))
    return bytes(seal_ogg_pages(b"".join(out)))


def _ogg_page(flags: int, granule: int, number: int, packets: list[bytes]) -> bytes:
    head = struct.pack("<4sBBQIIIB", b"OggS", 0, flags, granule, 1, number, 0, len(packets))
    return head + bytes(map(len, packets)) + b"".join(packets)


def ogg_of_empty_pages(pages: int) -> bytes:
    """Every one of them is walked."""
    first, page = (bytes(seal_ogg_pages(_ogg_page(*fields))) for fields in ((2, 0, 0, [OPUS_HEAD]), (0, 0, 2, [b""])))
    return first + page * pages


def _element(name: str, body: bytes) -> bytes:
    return bytes.fromhex(name) + (1 << 56 | len(body)).to_bytes(8, "big") + body


def _matroska(*clusters: bytes, track: bytes = b"") -> bytes:
    """One track of 16-bit PCM at 8 kHz; `track` adds elements to it."""
    sound = _element("b5", struct.pack(">d", 8_000.0)) + _element("9f", b"\1") + _element("6264", b"\x10")
    entry = _element("d7", b"\1") + _element("73c5", b"\1") + _element("83", b"\2") + _element("86", b"A_PCM/INT/LIT")
    head = _element("1a45dfa3", _element("4282", b"matroska"))
    segment = _element("1549a966", _element("2ad7b1", (10**6).to_bytes(4, "big")))
    segment += _element("1654ae6b", _element("ae", entry + _element("e1", sound) + track))
    return head + bytes.fromhex("18538067") + SIZE_UNKNOWN + segment + b"".join(clusters)


def _cluster(milliseconds: int, body: bytes) -> bytes:
    time, block = _element("e7", milliseconds.to_bytes(8, "big")), _element("a3", b"\x81\0\0\x80" + body)
    return _element("1f43b675", time + block)


def matroska_with_a_gap(seconds: int) -> bytes:
    """Two blocks, and what is missing between them is silence."""
    return _matroska(_cluster(0, bytes(8_000)), _cluster(seconds * 1000, bytes(8_000)))


def matroska_of_empty_clusters(clusters: int) -> bytes:
    return _matroska(_element("1f43b675", b"") * clusters)


def matroska_nested(levels: int) -> bytes:
    return _matroska(*((bytes.fromhex(name) + SIZE_UNKNOWN) * levels for name in ("1f43b675", "18538067")))


def matroska_compressed(megabytes: int, *, blocks: int = 8) -> bytes:
    """Blocks that zlib blows up a thousandfold (RFC 9559, section 5.1.4.1.31.6)."""
    encoding = _element("6240", _element("5031", b"\0") + _element("5034", _element("4254", b"\0")))
    block = zlib.compress(bytes(megabytes << 20), 9)
    return _matroska(*(_cluster(n * 1000, block) for n in range(blocks)), track=_element("6d80", encoding))


def _box(name: bytes, *bodies: bytes) -> bytes:
    body = b"".join(bodies)
    return struct.pack(">I4s", 8 + len(body), name) + body


def _full(name: bytes, *numbers: int) -> bytes:
    return _box(name, bytes(4), struct.pack(f">{len(numbers)}I", *numbers))


def mp4_of_samples(samples: int, *, entry: bytes | None = None, duration: int = 8_000, media: bytes = b"") -> bytes:
    """An index that claims so many samples in a few bytes, for 100 bytes of sound."""
    entry = entry or _box(b"sowt", _sound_entry(1, 16))
    described = _box(b"stsd", bytes(4), b"\0\0\0\1", entry)
    chunks = (_full(b"stsc", 1, 1, samples, 1), _full(b"stsz", 2, samples), _full(b"stco", 1, 48))
    table = _box(b"stbl", described, _full(b"stts", 1, samples, 1), *chunks)
    times = bytes(12) + struct.pack(">II", 8_000, duration)
    kind = _box(b"hdlr", bytes(8), b"soun", bytes(13))
    media = _box(b"minf", _box(b"smhd", bytes(8)), media, table)
    media = _box(b"mdia", _box(b"mdhd", times, bytes(4)), kind, media)
    track = _box(b"trak", _box(b"tkhd", b"\0\0\0\7", bytes(8), b"\0\0\0\1", bytes(68)), media)
    head = _box(b"ftyp", b"qt  ", bytes(4)) + _box(b"mdat", bytes(100))
    return head + _box(b"moov", _box(b"mvhd", times, bytes(80)), track)


def _sound_entry(channels: int, bits: int) -> bytes:
    return bytes(6) + b"\0\1" + bytes(8) + struct.pack(">HHIHH", channels, bits, 0, 8_000, 0)


def mp4_nested(levels: int) -> bytes:
    """Boxes in boxes in boxes."""
    sizes = range(8 * levels, 0, -8)
    names = itertools.cycle((b"moov", b"trak", b"mdia", b"minf", b"udta"))
    return _box(b"ftyp", b"isom", bytes(4)) + b"".join(struct.pack(">I4s", size, next(names)) for size in sizes)


def mp4_compressed_index(megabytes: int) -> bytes:
    """QuickTime's zlib-compressed moov."""
    packed = zlib.compress(bytes(megabytes << 20), 1)
    index = _box(b"cmov", _box(b"dcom", b"zlib"), _box(b"cmvd", struct.pack(">I", megabytes << 20), packed))
    return _box(b"ftyp", b"qt  ", bytes(4)) + _box(b"mdat", bytes(100)) + _box(b"moov", index)


def mp4_elsewhere(path: str) -> bytes:
    """A QuickTime file whose sound lies in another one."""
    name = struct.pack(">hh", 2, len(path)) + path.encode() + bytes(len(path) % 2)
    alias = bytes(10) + b"\0\2" + bytes(138) + name + b"\xff\xff\0\0"
    references = _box(b"dref", bytes(4), b"\0\0\0\1", _box(b"alis", bytes(4), alias))
    return mp4_of_samples(50, media=_box(b"dinf", references))


def wav_of_channels(channels: int, rate: int, megabytes: int) -> bytes:
    """One second of it takes `channels` * `rate` * 4 bytes once it is float32."""
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * channels & 0xFFFF_FFFF, channels, 8)
    size = megabytes << 20
    head = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", len(head) + size) + head + b"\x80" * size


def wav_of_chunks(chunks: int) -> bytes:
    whole = wav_of_channels(1, 8_000, 1)
    return whole[:36] + (b"JUNK" + bytes(4)) * chunks + whole[36:]


def alac_of_large_frames() -> bytes:
    """A decoder reserves what the codec's cookie says of one frame."""
    cookie = struct.pack(">IBBBBBBHIII", 0x7FFF_FFFF, 0, 32, 40, 10, 14, 8, 255, 0x7FFF_FFFF, 0x7FFF_FFFF, 768_000)
    entry = _box(b"alac", _sound_entry(8, 32), _box(b"alac", bytes(4), cookie))
    return mp4_of_samples(50, entry=entry)


def flac_of_large_metadata(blocks: int) -> bytes:
    whole = flac_of_silence(1, declared=True)
    comment = b"\4\xff\xff\xff" + struct.pack("<II", 0, 0x7FFF_FFFF) + bytes(32)
    return b"fLaC\0" + whole[5:42] + comment * blocks + whole[42:]


BOMBS: dict[str, Callable[[], bytes]] = {
    "3 days of silence as FLAC, undeclared": lambda: flac_of_silence(72, declared=False),
    "3 days of silence as FLAC, declared": lambda: flac_of_silence(72, declared=True),
    "half an hour of silence on 8 channels as FLAC": lambda: flac_of_silence(1, declared=True, channels=8)[:8_000],
    "12 hours of silence as Opus": lambda: opus_of_silence(12),
    "a day of silence as AMR": lambda: b"#!AMR\n" + b"\x7c" * (24 * HOUR * 50),
    "100,000 empty Ogg pages": lambda: ogg_of_empty_pages(100_000),
    "a gap of 10^9 s in Matroska": lambda: matroska_with_a_gap(10**9),
    "a gap of 50 minutes in Matroska": lambda: matroska_with_a_gap(3_000),
    "400,000 empty clusters": lambda: matroska_of_empty_clusters(400_000),
    "100,000 nested clusters and segments": lambda: matroska_nested(100_000),
    "compressed blocks of 9 MB": lambda: matroska_compressed(9),
    "compressed blocks of 300 MB": lambda: matroska_compressed(300),
    "an index of 2^31 samples": lambda: mp4_of_samples((1 << 31) - 1),
    "an index of 2^26 samples": lambda: mp4_of_samples(1 << 26, duration=1 << 26),
    "100,000 nested boxes": lambda: mp4_nested(100_000),
    "a compressed index of 256 MB": lambda: mp4_compressed_index(256),
    "sound in another file": lambda: mp4_elsewhere("/etc/hostname"),
    "64 channels at 768 kHz": lambda: wav_of_channels(64, 768_000, 20),
    "65,535 channels at 4 GHz": lambda: wav_of_channels(65_535, 0xFFFF_FFFF, 1),
    "no channels": lambda: wav_of_channels(0, 8_000, 1),
    "1,000,000 chunks": lambda: wav_of_chunks(1_000_000),
    "ALAC frames of 2^31 samples": alac_of_large_frames,
    "FLAC metadata of 16 MB that are not there": lambda: flac_of_large_metadata(1_000),
    "50,000 ID3 tags": lambda: b"ID3\4\0\0\0\0\0\0" * 50_000 + b"\xff\xfb\x90\x64" + bytes(413),
    "an ID3 tag of 256 MB that is not there": lambda: b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(100),
    "300,000 empty AAC frames": lambda: bytes.fromhex("fff1508000fffc") * 300_000,
    "MPEG frame marks without frames": lambda: b"\xff\xfb" * 2_000_000,
}
