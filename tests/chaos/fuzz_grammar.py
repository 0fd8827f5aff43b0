"""Containers built from nothing, every field under Hypothesis's control: true, extreme, or a lie.

Damage to real files stands in `fuzz_mutations.py`; files that are small and decode to much in `fuzz_bombs.py`.
"""

from __future__ import annotations

import struct

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.chaos.fuzz_mutations import EXTREMES, EXTREMES_64, FLOATS, seal_ogg_pages

U8, U16 = st.integers(0, 0xFF), st.integers(0, 0xFFFF)
U32 = st.sampled_from(EXTREMES) | st.integers(0, 0xFFFF_FFFF)
U64 = st.sampled_from(EXTREMES_64) | st.integers(0, (1 << 64) - 1)
RATES = st.sampled_from((8_000, 16_000, 44_100, 768_000)) | U32
CHANNELS = st.sampled_from((1, 2, 6, 64)) | U32
SOUND = st.binary(max_size=2_000) | st.integers(0, 20_000).map(bytes)


def sizes(layout: str, length: int) -> st.SearchStrategy[int]:
    """The true length, mostly; else a lie that fits the field."""
    limit = (1 << 8 * struct.calcsize(layout)) - 1
    lies = st.sampled_from([value for value in (*EXTREMES, *EXTREMES_64) if value <= limit])
    return st.one_of(st.just(length), st.just(length), lies, st.integers(0, min(limit, 2 * length + 100)))


@st.composite
def chunk(draw: st.DrawFn, name: bytes, body: bytes, layout: str = "<I") -> bytes:
    return name + struct.pack(layout, draw(sizes(layout, len(body)))) + body + bytes(len(body) % 2)


NAMES = st.sampled_from((b"LIST", b"fact", b"ds64", b"bext", b"JUNK", b"fmt ", b"data", b"cue ", b"smpl", b"\0\0\0\0"))


@st.composite
def wav(draw: st.DrawFn) -> bytes:
    order = draw(st.sampled_from("<<<>"))
    magic = {"<": draw(st.sampled_from((b"RIFF", b"RIFF", b"RF64", b"BW64"))), ">": b"RIFX"}[order]
    codec = draw(st.sampled_from((1, 1, 3, 6, 7, 2, 17, 49, 85, 0xFF, 0xFFFE, 0x160, 0x11)) | U16)
    channels, bits = draw(CHANNELS) & 0xFFFF, draw(st.sampled_from((8, 16, 24, 32, 64, 4, 0, 1)) | U16)
    rate = draw(RATES)
    form = struct.pack(f"{order}HHIIHH", codec, channels, rate, draw(U32), draw(U16), bits)
    form += draw(st.just(b"") | st.binary(max_size=40))
    parts = [draw(chunk(b"fmt ", form, f"{order}I"))]
    if magic in (b"RF64", b"BW64"):
        parts.insert(0, draw(chunk(b"ds64", struct.pack("<QQQI", draw(U64), draw(U64), draw(U64), draw(U32)))))
    for name in draw(st.lists(NAMES, max_size=4)):
        parts.append(draw(chunk(name, draw(st.binary(max_size=30)), f"{order}I")))
    parts.append(draw(chunk(b"data", draw(SOUND), f"{order}I")))
    body = b"WAVE" + b"".join(parts)
    return magic + struct.pack(f"{order}I", draw(sizes("<I", len(body)))) + body


@st.composite
def w64(draw: st.DrawFn) -> bytes:
    tail = bytes.fromhex("f3acd3118cd100c04f8edb8a")
    form = struct.pack("<HHIIHH", draw(U16 | st.just(1)), draw(CHANNELS) & 0xFFFF, draw(RATES), draw(U32), 2, 16)
    parts = b""
    for name, body in ((b"fmt ", form), (b"data", draw(SOUND))):
        parts += name + tail + struct.pack("<Q", draw(sizes("<Q", len(body) + 24))) + body + bytes(-len(body) % 8)
    riff = bytes.fromhex("726966662e91cf11a5d628db04c10000")
    return riff + struct.pack("<Q", draw(sizes("<Q", 40 + len(parts)))) + b"wave" + tail + parts


def extended(value: float) -> bytes:
    """80-bit SANE, the form of AIFF's sample rate, for whole numbers."""
    whole = int(value)
    exponent = whole.bit_length() + 16382
    return struct.pack(">HQ", exponent, whole << (64 - whole.bit_length())) if whole else bytes(10)


@st.composite
def aiff(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from((b"AIFF", b"AIFC")))
    bits = draw(st.sampled_from((8, 16, 24, 32, 0)) | U16)
    common = struct.pack(">HIH", draw(CHANNELS) & 0xFFFF, draw(U32), bits)
    common += draw(st.binary(min_size=10, max_size=10) | RATES.map(extended))
    if kind == b"AIFC":
        common += draw(st.sampled_from((b"NONE", b"sowt", b"fl32", b"ulaw", b"ima4", b"GSM ", b"????"))) + b"\0\0"
    sound = struct.pack(">II", draw(U32 | st.just(0)), draw(U32 | st.just(0))) + draw(SOUND)
    body = kind + draw(chunk(b"COMM", common, ">I")) + draw(chunk(b"SSND", sound, ">I"))
    return b"FORM" + struct.pack(">I", draw(sizes(">I", len(body)))) + body


@st.composite
def au(draw: st.DrawFn) -> bytes:
    order, magic = draw(st.sampled_from(((">", b".snd"), ("<", b"dns."))))
    sound = draw(SOUND)
    encoding = draw(st.integers(0, 30) | U32)
    fields = (draw(st.just(24) | U32), draw(sizes("<I", len(sound))), encoding, draw(RATES), draw(CHANNELS))
    return magic + struct.pack(f"{order}5I", *fields) + sound


@st.composite
def caf(draw: st.DrawFn) -> bytes:
    rate = draw(st.sampled_from((8_000.0, 44_100.0, *FLOATS)) | st.floats())
    codec = draw(st.sampled_from((b"lpcm", b"lpcm", b"alac", b"aac ", b"ulaw", b"ima4", b"????")))
    numbers = [draw(U32) for _ in range(4)] if draw(st.booleans()) else [2, 1, 1, 16]
    form = struct.pack(">d4s5I", rate, codec, draw(st.integers(0, 3)), *numbers)
    parts = draw(chunk(b"desc", form, ">Q"))
    if draw(st.booleans()):
        table = struct.pack(">QQII", draw(U64), draw(U64), draw(U32), draw(U32))
        parts += draw(chunk(b"pakt", table + draw(st.binary(max_size=64)), ">Q"))
    if draw(st.booleans()):
        parts += draw(chunk(b"kuki", draw(st.binary(max_size=64)), ">Q"))
    return b"caff\0\1\0\0" + parts + draw(chunk(b"data", bytes(4) + draw(SOUND), ">Q"))


@st.composite
def flac(draw: st.DrawFn) -> bytes:
    rate, channels, bits = draw(st.integers(0, (1 << 20) - 1)), draw(st.integers(0, 7)), draw(st.integers(0, 31))
    total = draw(st.sampled_from((0, 1, 4_096, (1 << 36) - 1)))
    info = struct.pack(">HH", draw(U16 | st.just(4_096)), draw(U16 | st.just(4_096))) + bytes(6)
    info += (rate << 44 | channels << 41 | bits << 36 | total).to_bytes(8, "big") + bytes(16)
    blocks = [(0, info), *draw(st.lists(st.tuples(st.integers(0, 127), st.binary(max_size=60)), max_size=4))]
    out = b"fLaC"
    for number, (kind, body) in enumerate(blocks):
        length = draw(st.sampled_from((len(body), len(body), len(body), 0, 0xFF_FFFF)))
        out += bytes((kind | (0x80 if number == len(blocks) - 1 else 0),)) + length.to_bytes(3, "big") + body
    return out + draw(st.just(b"") | st.binary(max_size=600).map(lambda sound: b"\xff\xf8\x69\x08\x00" + sound))


OPUS = st.tuples(U8, U8, U16, RATES, U16, U8).map(lambda f: b"OpusHead" + struct.pack("<BBHIHB", *f))
VORBIS = st.tuples(U32 | st.just(0), U8, RATES, U32, U32, U32, U8, U8).map(
    lambda f: b"\x01vorbis" + struct.pack("<IBIIIIBB", *f)
)
SPEEX = st.tuples(st.just(b"Speex   1.2"), st.lists(U32, min_size=13, max_size=13)).map(
    lambda f: f[0].ljust(28, b"\0") + struct.pack("<13I", *f[1])
)
OGG_FLAC = st.binary(min_size=34, max_size=34).map(lambda info: b"\x7fFLAC\1\0\0\1fLaC\0\0\0\x22" + info)


@st.composite
def ogg(draw: st.DrawFn) -> bytes:
    """Pages with right checksums around packets that are anything."""
    head = draw(st.one_of(OPUS, VORBIS, SPEEX, OGG_FLAC, st.binary(max_size=60)))
    comments = st.tuples(U32, st.binary(max_size=40)).map(lambda f: b"OpusTags" + struct.pack("<I", f[0]) + f[1])
    packets = [head, draw(comments), *draw(st.lists(st.binary(max_size=250), max_size=12))]
    out = b""
    for number, packet in enumerate(packets):
        flags = (2 if number == 0 else 0) | (4 if number == len(packets) - 1 else 0)
        flags = draw(st.sampled_from((flags, flags, flags, draw(U8))))
        granule = draw(st.integers(0, 960 * 50) | U64)
        header = struct.pack("<4sBBQIIIB", b"OggS", 0, flags, granule, draw(st.just(7) | U32), number, 0, 1)
        out += header + bytes((len(packet),)) + packet
    return bytes(seal_ogg_pages(out))


BOX_NAMES = (
    "moov trak mdia minf stbl stsd stts stsc stsz stco co64 ctts elst mvhd tkhd mdhd hdlr smhd edts udta meta ilst "
    "mvex trex moof traf tfhd trun tfdt sidx mp4a esds alac wave dref mdat free uuid cmov"
)
BOXES = st.sampled_from(BOX_NAMES.split()).map(str.encode)
TABLES = st.tuples(U32, U32, st.lists(U32, max_size=12)).map(
    lambda f: struct.pack(f">II{len(f[2])}I", f[0] & 0xFFFFFF, f[1], *f[2])
)


@st.composite
def box(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    body = draw(bodies)
    name = draw(BOXES)
    if draw(st.integers(0, 9)) == 0:
        return struct.pack(">I4sQ", 1, name, draw(sizes(">Q", len(body) + 16))) + body
    return struct.pack(">I4s", draw(sizes(">I", len(body) + 8)), name) + body


TREES = st.recursive(
    box(TABLES | st.binary(max_size=60)), lambda below: box(st.lists(below, max_size=5).map(b"".join)), max_leaves=12
)


@st.composite
def mp4(draw: st.DrawFn) -> bytes:
    brand = draw(st.sampled_from((b"M4A ", b"isom", b"qt  ", b"3gp4", b"dash")))
    trees = b"".join(draw(st.lists(TREES, max_size=3)))
    moov = struct.pack(">I4s", 8 + len(trees), b"moov") + trees
    return struct.pack(">I4s4sI", 16, b"ftyp", brand, 0) + moov + struct.pack(">I4s", 108, b"mdat") + bytes(100)


ELEMENT_IDS = (
    "18538067 1549a966 1654ae6b ae d7 73c5 83 86 63a2 e1 b5 9f 6264 1f43b675 e7 a3 a0 a1 9b 1c53bb6b 1254c367 114d9b74 "
    "4489 2ad7b1 6d80 6240 5034 ec"
)
ELEMENTS = st.sampled_from(ELEMENT_IDS.split()).map(bytes.fromhex)
EBML_VALUES = st.one_of(
    st.binary(max_size=30),
    U64.map(lambda n: n.to_bytes(8, "big")),
    st.sampled_from(FLOATS).map(lambda f: struct.pack(">d", f)),
    st.sampled_from((b"A_OPUS", b"A_VORBIS", b"A_FLAC", b"A_AAC", b"A_PCM/INT/LIT", b"A_MS/ACM", b"S_TEXT/UTF8")),
)


@st.composite
def element(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    body = draw(bodies)
    length = draw(st.sampled_from((len(body),) * 4 + (0, (1 << 56) - 1, (1 << 56) - 2, 1 << 40, len(body) + 1)))
    name: bytes = draw(ELEMENTS)
    size: bytes = (1 << 56 | length).to_bytes(8, "big")
    return name + size + body


EBML_TREES = st.recursive(
    element(EBML_VALUES), lambda below: element(st.lists(below, max_size=5).map(b"".join)), max_leaves=12
)


@st.composite
def matroska(draw: st.DrawFn) -> bytes:
    doctype = b"\x42\x82" + draw(st.sampled_from((b"\x88matroska", b"\x84webm")))
    trees = b"".join(draw(st.lists(EBML_TREES, max_size=6)))
    segment = bytes.fromhex("18538067") + (1 << 56 | draw(sizes("<I", len(trees)))).to_bytes(8, "big") + trees
    return b"\x1a\x45\xdf\xa3" + bytes((0x80 | len(doctype),)) + doctype + segment


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """ADTS, MPEG audio and AMR: headers that fit one another around anything."""
    kind = draw(st.sampled_from(("adts", "mpeg", "amr", "amr-wb")))
    out = {"amr": b"#!AMR\n", "amr-wb": b"#!AMR-WB\n"}.get(kind, b"")
    rate, layout = draw(st.integers(0, 15)), draw(st.integers(0, 7))
    second, third = draw(st.sampled_from((0xFB, 0xF3, 0xE3, 0xFD, 0xFF, 0xFA))), draw(U8)
    for _ in range(draw(st.integers(1, 12))):
        body = draw(st.binary(max_size=120))
        if kind == "adts":
            length = len(body) + 7
            out += bytes((0xFF, 0xF1, 0x40 | rate << 2 | layout >> 2, (layout & 3) << 6 | length >> 11))
            out += bytes((length >> 3 & 0xFF, (length & 7) << 5 | 0x1F, 0xFC)) + body
        elif kind == "mpeg":
            out += bytes((0xFF, second, third, draw(U8))) + body.ljust(413, b"\0")
        else:
            out += bytes((draw(st.integers(0, 15)) << 3 | 4,)) + body
    return out


FAMILIES = {
    "wav": wav(),
    "w64": w64(),
    "aiff": aiff(),
    "au": au(),
    "caf": caf(),
    "flac": flac(),
    "ogg": ogg(),
    "mp4": mp4(),
    "mkv": matroska(),
    "frames": frames(),
}


def built(number: int, count: int) -> list[tuple[str, bytes]]:
    """`count` files of all families, (family, content); the same for the same `number`."""
    found: list[tuple[str, bytes]] = []
    share = -(-count // len(FAMILIES))
    for family, strategy in FAMILIES.items():
        _draw(strategy, number, share, lambda body, family=family: found.append((family, body)))
    return found[:count] if count < len(FAMILIES) else found


def _draw(strategy: st.SearchStrategy[bytes], number: int, count: int, take) -> None:
    quiet = settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )

    @seed(number)
    @quiet
    @given(strategy)
    def draw(body: bytes) -> None:
        take(body)

    draw()
