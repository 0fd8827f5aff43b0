"""What the parsers of chunks and of FLAC say of whole, cut and unfinished files, built here byte by byte."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import soundfile

from transcription_worker.decode.extents.chunks import aiff_extent, au_extent, caf_extent, riff_extent, w64_extent
from transcription_worker.decode.extents.extent import Extent
from transcription_worker.decode.extents.flac import flac_extent

Parser = Callable[[IO[bytes], int], Extent]
RATE = 8_000
SECOND = 2 * RATE


def measure(parser: Parser, data: bytes) -> Extent:
    return parser(io.BytesIO(data), len(data))


def wav(declared: int, present: int, *, before: bytes = b"", after: bytes = b"", kind: bytes = b"RIFF") -> bytes:
    """16-bit mono at 8 kHz."""
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, SECOND, 2, 16)
    return (
        kind
        + struct.pack("<I", 36)
        + b"WAVE"
        + before
        + form
        + b"data"
        + struct.pack("<I", declared)
        + bytes(present)
        + after
    )


class TestWav:
    def test_whole(self) -> None:
        assert measure(riff_extent, wav(SECOND, SECOND)) == Extent(1.0, whole=True)

    def test_chunks_behind_the_audio_do_not_matter(self) -> None:
        assert measure(riff_extent, wav(SECOND, SECOND, after=b"LIST\xff\x00\x00\x00cut")).whole

    def test_cut(self) -> None:
        assert (
            measure(riff_extent, wav(10 * SECOND, 4 * SECOND)).cut
            == "its header declares 10.0 s, the file ends after 4.0 s"
        )

    def test_less_than_a_tenth_of_a_second_is_not_missed(self) -> None:
        assert measure(riff_extent, wav(SECOND, SECOND - 1_500)).cut is None
        assert measure(riff_extent, wav(SECOND, SECOND - 1_700)).cut is not None

    @pytest.mark.parametrize("declared", [0, 0xFFFF_FFFF, 0xFFFF_FFDB, 0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000])
    def test_placeholders_of_writers_that_cannot_seek_declare_nothing(self, declared: int) -> None:
        assert measure(riff_extent, wav(declared, SECOND)) == Extent()

    def test_three_gigabytes_are_no_placeholder(self) -> None:
        assert measure(riff_extent, wav(3_000_000_000, SECOND)).cut is not None

    def test_rf64_takes_its_length_from_ds64(self) -> None:
        ds64 = b"ds64" + struct.pack("<IQQQI", 28, 0, 8 * SECOND, 0, 0)
        cut = measure(riff_extent, wav(0xFFFF_FFFF, SECOND, before=ds64, kind=b"RF64")).cut
        assert cut == "its header declares 8.0 s, the file ends after 1.0 s"

    def test_cut_before_the_audio(self) -> None:
        assert measure(riff_extent, wav(SECOND, 0)[:40]).cut == "it ends before its audio begins"


class TestOtherChunks:
    def test_aiff(self) -> None:
        comm = b"COMM" + struct.pack(">IhIh", 18, 1, 4 * RATE, 16) + bytes.fromhex("400bfa00000000000000")
        head = b"FORM" + struct.pack(">I", 0) + b"AIFF" + comm + b"SSND" + struct.pack(">III", 4 * SECOND + 8, 0, 0)
        assert measure(aiff_extent, head + bytes(4 * SECOND)) == Extent(4.0, whole=True)
        assert measure(aiff_extent, head + bytes(SECOND)).cut == "its header declares 4.0 s, the file ends after 1.0 s"

    @pytest.mark.parametrize(("magic", "order"), [(b".snd", ">"), (b"dns.", "<")])
    def test_au(self, magic: bytes, order: str) -> None:
        head = magic + struct.pack(f"{order}5I", 24, 4 * SECOND, 3, RATE, 1)
        assert measure(au_extent, head + bytes(4 * SECOND)) == Extent(4.0, whole=True)
        assert measure(au_extent, head + bytes(SECOND)).cut == "its header declares 4.0 s, the file ends after 1.0 s"
        assert measure(au_extent, magic + struct.pack(f"{order}5I", 24, 0xFFFF_FFFF, 3, RATE, 1) + bytes(9)) == Extent()

    def caf(self, packet_bytes: int, length: int, present: int, tail: bytes = b"") -> bytes:
        desc = b"desc" + struct.pack(">qd4sIIIII", 32, RATE, b"lpcm", 0, packet_bytes, 1, 1, 16)
        return b"caff\0\1\0\0" + desc + b"data" + struct.pack(">qI", length, 0) + bytes(present) + tail

    def test_caf(self) -> None:
        assert measure(caf_extent, self.caf(2, 4 + SECOND, SECOND)) == Extent(1.0, whole=True)
        assert measure(caf_extent, self.caf(2, 4 + 3 * SECOND, SECOND)).cut is not None
        assert measure(caf_extent, self.caf(2, -1, SECOND)) == Extent()

    def test_caf_without_its_packet_table_is_cut(self) -> None:
        table = b"pakt" + struct.pack(">qqqii", 24, 3, 2 * RATE, 0, 0)
        assert measure(caf_extent, self.caf(0, 4 + 99, 99, table)) == Extent(2.0, whole=True)
        assert "pakt" in (measure(caf_extent, self.caf(0, 4 + 99, 99)).cut or "")

    def test_w64(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "a.w64", np.zeros(4 * RATE), RATE, subtype="PCM_16")
        data = (tmp_path / "a.w64").read_bytes()
        assert measure(w64_extent, data) == Extent(4.0, whole=True)
        assert measure(w64_extent, data[: -3 * SECOND]).cut == "its header declares 4.0 s, the file ends after 1.0 s"

    @pytest.mark.parametrize("parser", [riff_extent, w64_extent, aiff_extent, caf_extent])
    def test_lengths_that_lie_do_no_harm(self, parser: Parser) -> None:
        noise = np.random.default_rng(1)
        for size in range(0, 400, 7):
            measure(parser, noise.bytes(size))
            measure(parser, b"\xff" * size)


class TestFlac:
    @pytest.fixture
    def whole(self, tmp_path: Path) -> bytes:
        samples = np.random.default_rng(0).normal(scale=0.1, size=6 * RATE)
        soundfile.write(tmp_path / "a.flac", samples, RATE, subtype="PCM_16")
        return (tmp_path / "a.flac").read_bytes()

    def test_whole(self, whole: bytes) -> None:
        assert measure(flac_extent, whole) == Extent(6.0, whole=True)

    def test_tags_behind_it_do_not_matter(self, whole: bytes) -> None:
        assert measure(flac_extent, whole + b"TAG" + bytes(125)).whole

    @pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.99])
    def test_cut(self, whole: bytes, share: float) -> None:
        cut = measure(flac_extent, whole[: int(len(whole) * share)]).cut
        assert cut is not None
        assert cut.startswith("its header declares 6.0 s, the file ends after ")
        assert abs(float(cut.split()[-2]) - 6 * share) < 0.6

    def test_one_byte_is_enough_where_the_samples_are_not_declared(self, whole: bytes) -> None:
        undeclared = whole[:21] + bytes([whole[21] & 0xF0]) + bytes(4) + whole[26:]
        assert measure(flac_extent, undeclared) == Extent(whole=True)
        cut = measure(flac_extent, undeclared[:-1]).cut
        assert cut is not None
        assert "is incomplete" in cut
