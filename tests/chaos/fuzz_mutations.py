"""Damage to real recordings: what storms, bugs and malice do to bytes. Pure functions of a seeded `random.Random`.

Containers that are built from nothing, with every field under control, stand in `fuzz_grammar.py`.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from tests.chaos.fuzz_seeds import Seed
from transcription_worker.decode.extents.ogg import CHECKSUM, HEADER_BYTES, page_checksum

HEAD_BYTES = 400
"""Half of all damage falls here: headers are where lies are told."""

EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 1 << 24, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
EXTREMES_64 = (0, 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
FLOATS = (0.0, -0.0, 1e-300, -8_000.0, 4e9, 1e300, float("inf"), float("-inf"), float("nan"))
WORDS = (
    *(b"RIFF", b"RF64", b"WAVE", b"fmt ", b"data", b"fact", b"ds64", b"LIST", b"FORM", b"COMM", b"SSND", b"caff"),
    *(b"desc", b"pakt", b"kuki", b".snd", b"fLaC", b"OggS", b"OpusHead", b"OpusTags", b"\x01vorbis", b"Speex   "),
    *(b"ftyp", b"moov", b"trak", b"mdia", b"stbl", b"stsd", b"stts", b"stsz", b"stsc", b"stco", b"mp4a", b"moof"),
    *(b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75", b"\xa3", b"\xa0", b"\x01" + b"\xff" * 7),
    *(b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f", b"TAG", b"APETAGEX", b"Xing", b"Info", b"VBRI", b"LAME", b"#!AMR-WB\n"),
    *(b"\xff\xfb\x90\x64", b"\xff\xf1\x50\x80", b"\xff\xf8\xc9\x08", b"http://localhost/", b"file:/etc/passwd"),
)

Mutation = Callable[[bytearray, random.Random, list[Seed]], bytearray]


def mutate(seed: Seed, dice: random.Random, seeds: list[Seed]) -> tuple[str, bytes]:
    """A damaged copy, and the names of what was done to it."""
    body = bytearray(seed.body)
    done = []
    for _ in range(dice.choice((1, 1, 1, 2, 3, 5))):
        mutation = dice.choice(MUTATIONS)
        body = mutation(body, dice, seeds)
        done.append(mutation.__name__)
    if seed.suffix in ("ogg", "opus", "ogv") and dice.random() < 0.7:
        # Damage behind a checksum that fails never reaches a decoder.
        body = seal_ogg_pages(body)
        done.append("seal")
    return "+".join(done), bytes(body)


def flip_bits(body: bytearray, dice: random.Random, seeds: list[Seed]) -> bytearray:
    for _ in range(dice.choice((1, 2, 8, 64))):
        if body:
            body[_place(body, dice)] ^= 1 << dice.randrange(8)
    return body


def truncate(body: bytearray, dice: random.Random, seeds: list[Seed]) -> bytearray:
    return body[: dice.randrange(len(body) + 1)]


def splice(body: bytearray, dice: random.Random, seeds: list[Seed]) -> bytearray:
    """The head of one file and the tail of another, as an interrupted and resumed upload leaves it."""
    other = dice.choice(seeds).body
    return body[: dice.randrange(len(body) + 1)] + other[dice.randrange(len(other)) :]


def join(body: bytearray, dice: random.Random, seeds: list[Seed]) -> bytearray:
    return body + dice.choice(seeds).body


def wrap(body: bytearray, dice: random.Random, seeds: list[Seed]) -> bytearray:
    """One file inside another."""
    other = dice.choice(seeds).body
    at = dice.randrange(len(body) + 1)
    return body[:at] + other + body[at:]


def set_integer(body: bytearray, dice: random.Random, seeds: list[Seed]) -> bytearray:
    order = dice.choice("<>")
    layout = dice.choice("BHIIQ")
    value = dice.choice(EXTREMES_64 if layout == "Q" else EXTREMES) & (1 << 8 * struct.calcsize(layout)) - 1
    return _overwrite(body, dice, struct.pack(order + layout, value))


def set_float(body: bytearray, dice: random.Random, seeds: list[Seed]) -> bytearray:
    return _overwrite(body, dice, struct.pack(">d", dice.choice(FLOATS)))


def write_word(body: bytearray, dice: random.Random, seeds: list[Seed]) -> bytearray:
    return _overwrite(body, dice, dice.choice(WORDS))


def insert_word(body: bytearray, dice: random.Random, seeds: list[Seed]) -> bytearray:
    at = _place(body, dice)
    return body[:at] + dice.choice(WORDS) + body[at:]


def fill(body: bytearray, dice: random.Random, seeds: list[Seed]) -> bytearray:
    start, end = sorted(dice.randrange(len(body) + 1) for _ in range(2))
    body[start:end] = dice.choice((bytes(end - start), b"\xff" * (end - start), dice.randbytes(end - start)))
    return body


def cut_out(body: bytearray, dice: random.Random, seeds: list[Seed]) -> bytearray:
    start, end = sorted(dice.randrange(len(body) + 1) for _ in range(2))
    del body[start:end]
    return body


def repeat(body: bytearray, dice: random.Random, seeds: list[Seed]) -> bytearray:
    """A stretch many times over: nested boxes, endless clusters, doubled chunks."""
    start, end = sorted(dice.randrange(len(body) + 1) for _ in range(2))
    end = min(end, start + 2_000)
    times = min(dice.choice((1, 3, 50, 2_000)), 200_000 // max(1, end - start))
    return body[:end] + body[start:end] * times + body[end:]


def tag_in_front(body: bytearray, dice: random.Random, seeds: list[Seed]) -> bytearray:
    size = dice.choice((0, 10, 1_000))
    head = b"ID3\x04\x00\x00" + bytes((0, 0, size >> 7, size & 0x7F))
    return bytearray((head + bytes(size)) * dice.choice((1, 2, 500))) + body


MUTATIONS: tuple[Mutation, ...] = (
    *(flip_bits, flip_bits, flip_bits, truncate, splice, join, wrap, set_integer, set_integer, set_integer),
    *(set_float, write_word, insert_word, fill, cut_out, repeat, tag_in_front),
)


def seal_ogg_pages(body: bytes | bytearray) -> bytearray:
    """The same bytes, with the right checksum on everything that still is an Ogg page."""
    sealed = bytearray(body)
    at = sealed.find(b"OggS")
    while 0 <= at <= len(sealed) - HEADER_BYTES:
        segments = sealed[at + HEADER_BYTES : at + HEADER_BYTES + sealed[at + HEADER_BYTES - 1]]
        end = at + HEADER_BYTES + len(segments) + sum(segments)
        if end <= len(sealed):
            sealed[at + CHECKSUM : at + CHECKSUM + 4] = page_checksum(bytes(sealed[at:end])).to_bytes(4, "little")
            at = sealed.find(b"OggS", end)
        else:
            at = sealed.find(b"OggS", at + 1)
    return sealed


def _place(body: bytearray, dice: random.Random) -> int:
    return dice.randrange(max(1, min(len(body), HEAD_BYTES) if dice.random() < 0.5 else len(body)))


def _overwrite(body: bytearray, dice: random.Random, value: bytes) -> bytearray:
    at = _place(body, dice)
    body[at : at + len(value)] = value
    return body
