"""No parser of containers raises, loops or reserves memory on bytes that mean harm."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile

from transcription_worker.decode.sniff import Container, sniff
from transcription_worker.decode.truncation import EXTENTS, extent

MPEG = bytes.fromhex("fffb9064") + bytes(413)
SEEDS = {
    Container.MP4: b"\0\0\0\x10ftypM4A \0\0\0\0\0\0\0\x40moov" + bytes(56) + b"\0\0\0\x40mdat" + bytes(56),
    Container.MATROSKA: bytes.fromhex("1a45dfa38418538067")
    + bytes.fromhex("1853806750001f43b67540ffa340fe")
    + bytes(300),
    Container.MP3: MPEG * 8,
    Container.ADTS: (bytes([0xFF, 0xF1, 0x50, 0x80, 0x20, 0x1F, 0xFC]) + bytes(249)) * 8,
    Container.AMR: b"#!AMR\n" + (b"\x3c" + bytes(31)) * 20,
}
WRITTEN = {
    Container.WAV: ("wav", "IMA_ADPCM"),
    Container.W64: ("w64", "PCM_16"),
    Container.AIFF: ("aiff", "PCM_16"),
    Container.AU: ("au", "ULAW"),
    Container.CAF: ("caf", "ALAC_16"),
    Container.FLAC: ("flac", "PCM_16"),
    Container.OGG: ("ogg", "VORBIS"),
}


def seed(container: Container, folder: Path) -> bytes:
    if container in SEEDS:
        return SEEDS[container]
    suffix, subtype = WRITTEN[container]
    path = folder / f"seed.{suffix}"
    soundfile.write(path, np.random.default_rng(0).normal(scale=0.1, size=4_000), 8_000, subtype=subtype)
    return path.read_bytes()


@pytest.mark.parametrize("container", EXTENTS)
def test_damaged_headers_are_survived(container: Container, tmp_path: Path) -> None:
    whole = seed(container, tmp_path)
    dice = random.Random(container)
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 6)):
            data[dice.randrange(min(len(data), 300))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
        del data[dice.randrange(4, len(data) + 1) :]
        file = io.BytesIO(data)
        sniff(file)
        found = extent(file, len(data), container)
        assert found.declared_seconds is None or found.declared_seconds >= 0


@pytest.mark.parametrize("container", EXTENTS)
@pytest.mark.parametrize("filler", [b"\x00", b"\xff", b"\x80"])
def test_endless_repetition_is_survived(container: Container, filler: bytes, tmp_path: Path) -> None:
    data = seed(container, tmp_path)[:64] + filler * 200_000
    extent(io.BytesIO(data), len(data), container)
