"""What the parsers of pages, frames, boxes and elements say of whole, cut and damaged files, built byte by byte."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import IO

import pytest

from transcription_worker.decode.extents.amr import amr_extent
from transcription_worker.decode.extents.extent import Extent
from transcription_worker.decode.extents.matroska import matroska_extent
from transcription_worker.decode.extents.mp4 import mp4_extent
from transcription_worker.decode.extents.mpeg import adts_extent, mp3_extent
from transcription_worker.decode.extents.ogg import ogg_extent

Parser = Callable[[IO[bytes], int], Extent]


def measure(parser: Parser, data: bytes) -> Extent:
    return parser(io.BytesIO(data), len(data))


def page(serial: int, flags: int, body: bytes) -> bytes:
    lacing = bytes([255] * (len(body) // 255) + [len(body) % 255])
    empty = b"OggS\0" + bytes([flags]) + struct.pack("<qIII", 0, serial, 0, 0) + bytes([len(lacing)]) + lacing + body
    checksum = 0
    for byte in empty:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C11DB7 if checksum >> 31 else 0)) & 0xFFFF_FFFF
    return empty[:22] + struct.pack("<I", checksum) + empty[26:]


class TestOgg:
    HEAD = page(1, 2, b"OpusHead" + bytes(11))
    MIDDLE = page(1, 0, bytes(5_000))
    LAST = page(1, 4, bytes(3_000))

    def test_whole(self) -> None:
        assert measure(ogg_extent, self.HEAD + self.MIDDLE + self.LAST) == Extent(whole=True)

    @pytest.mark.parametrize("missing", [1, 100, 2_990, len(LAST) - 1, len(LAST) - 4, len(LAST) - 30])
    def test_cut_inside_a_page(self, missing: int) -> None:
        data = self.HEAD + self.MIDDLE + self.LAST
        assert measure(ogg_extent, data[:-missing]).cut == "it ends inside an Ogg page"

    def test_cut_between_two_pages(self) -> None:
        cut = measure(ogg_extent, self.HEAD + self.MIDDLE).cut
        assert cut is not None
        assert "end-of-stream mark" in cut

    def test_a_picture_may_be_longer_than_the_sound(self) -> None:
        head = page(2, 2, b"\x80theora" + bytes(30)) + self.HEAD
        assert measure(ogg_extent, head + self.LAST + page(2, 0, bytes(50))).whole
        assert measure(ogg_extent, head + self.MIDDLE + page(2, 4, bytes(50))).cut is not None

    def test_a_chain_is_told_and_its_last_link_must_end(self) -> None:
        second = page(9, 2, b"OpusHead" + bytes(11))
        assert measure(ogg_extent, self.HEAD + self.LAST + second + page(9, 4, bytes(9))) == Extent(
            whole=True, stale=True
        )
        assert measure(ogg_extent, self.HEAD + self.LAST + second + page(9, 0, bytes(9))).cut is not None

    def test_a_page_that_fails_its_checksum_is_damage(self) -> None:
        broken = self.MIDDLE[:-9] + b"\x01" + self.MIDDLE[-8:]
        assert (
            measure(ogg_extent, self.HEAD + broken + self.LAST).damage == "the Ogg page at byte 47 fails its checksum"
        )

    def test_bytes_between_pages_are_damage(self) -> None:
        assert (
            measure(ogg_extent, self.HEAD + bytes(70_000) + self.LAST).damage
            == "70,000 bytes between its pages are no Ogg"
        )


MPEG_FRAME = bytes.fromhex("fffb9064") + bytes(413)
"""MPEG-1 layer III, 128 kbit/s, 44.1 kHz, stereo: 417 bytes, 26 ms."""


def xing(frames: int, length: int) -> bytes:
    return MPEG_FRAME[:36] + b"Info" + struct.pack(">III", 3, frames, length) + bytes(417 - 52)


class TestMp3:
    def test_header_declares_the_samples(self) -> None:
        data = xing(100, 417 * 101) + MPEG_FRAME * 100
        assert measure(mp3_extent, data) == Extent(100 * 1152 / 44_100, whole=True)
        assert measure(mp3_extent, data[:20_000]) == Extent(100 * 1152 / 44_100)

    def test_a_header_that_knows_of_less_than_follows_is_not_believed(self) -> None:
        data = xing(100, 417 * 101) + MPEG_FRAME * 300
        assert measure(mp3_extent, data) == Extent(stale=True)

    def test_without_a_header_the_last_frame_tells(self) -> None:
        assert measure(mp3_extent, MPEG_FRAME * 500).whole
        for missing in (1, 200, 414, 416):
            cut = measure(mp3_extent, (MPEG_FRAME * 500)[:-missing]).cut
            assert cut == "its last frame, after 13.0 s, is incomplete"

    @pytest.mark.parametrize("tail", [b"TAG" + bytes(125), bytes(700), b"LYRICSBEGIN" + bytes(90)])
    def test_what_is_no_frame_may_follow(self, tail: bytes) -> None:
        assert measure(mp3_extent, MPEG_FRAME * 50 + tail).cut is None

    def test_a_hole_is_damage(self) -> None:
        data = MPEG_FRAME * 100 + bytes(20_000) + MPEG_FRAME * 100
        assert measure(mp3_extent, data).damage == "20,000 bytes between its frames are no audio"

    def test_cut_inside_the_cover_picture(self) -> None:
        assert (
            measure(mp3_extent, b"ID3\3\0\0\0\7\0\0" + bytes(5_000)).cut
            == "it ends inside its tags, before its audio begins"
        )


class TestAdts:
    FRAME = bytes([0xFF, 0xF1, 0x50, 0x80, 0x20, 0x1F, 0xFC]) + bytes(249)
    """AAC-LC, 44.1 kHz, stereo, 256 bytes."""

    def test_whole(self) -> None:
        assert measure(adts_extent, self.FRAME * 1_000).whole

    @pytest.mark.parametrize("missing", [1, 128, 250, 255])
    def test_cut(self, missing: int) -> None:
        assert (
            measure(adts_extent, (self.FRAME * 1_000)[:-missing]).cut == "its last frame, after 23.2 s, is incomplete"
        )

    def test_a_hole_is_damage(self) -> None:
        assert measure(adts_extent, self.FRAME * 500 + b"\x55" * 9_000 + self.FRAME * 500).damage is not None


class TestAmr:
    @pytest.mark.parametrize(
        ("magic", "frame"),
        [(b"#!AMR\n", b"\x3c" + bytes(31)), (b"#!AMR-WB\n", b"\x14" + bytes(32)), (b"#!AMR\n", b"\x7c")],
    )
    def test_whole_and_cut(self, magic: bytes, frame: bytes) -> None:
        data = magic + frame * 5_000
        assert measure(amr_extent, data) == Extent(whole=True)
        if len(frame) > 1:
            assert measure(amr_extent, data[:-1]).cut == "its last frame, after 100.0 s, is incomplete"


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), name) + body


class TestMp4:
    FTYP, MOOV, MDAT = box(b"ftyp", b"M4A "), box(b"moov", bytes(900)), box(b"mdat", bytes(5_000))

    def test_whole_with_the_index_at_either_end(self) -> None:
        assert measure(mp4_extent, self.FTYP + self.MOOV + self.MDAT).whole
        assert measure(mp4_extent, self.FTYP + self.MDAT + self.MOOV).whole

    def test_without_its_index_it_is_cut(self) -> None:
        assert "(moov)" in (measure(mp4_extent, self.FTYP + self.MDAT).cut or "")
        assert "(moov)" in (measure(mp4_extent, self.FTYP + self.MDAT + self.MOOV[:5]).cut or "")

    def test_a_box_beyond_the_end(self) -> None:
        cut = measure(mp4_extent, (self.FTYP + self.MOOV + self.MDAT)[:-1_234]).cut
        assert cut == "its mdat box declares 1,234 bytes more than the file has"
        assert "moov box" in (measure(mp4_extent, (self.FTYP + self.MDAT + self.MOOV)[:-1]).cut or "")

    def test_sizes_of_64_bits_and_to_the_end(self) -> None:
        large = struct.pack(">I4sQ", 1, b"mdat", 16 + 5_000) + bytes(5_000)
        assert measure(mp4_extent, self.FTYP + large + self.MOOV).whole
        assert measure(mp4_extent, self.FTYP + self.MOOV + struct.pack(">I4s", 0, b"mdat") + bytes(77)).whole

    def test_a_fragment_without_its_audio(self) -> None:
        fragment = box(b"moof", bytes(80))
        assert measure(mp4_extent, self.FTYP + self.MOOV + fragment + self.MDAT).cut is None
        assert measure(mp4_extent, self.FTYP + self.MOOV + (fragment + self.MDAT) * 2 + fragment).cut is not None


def element(name: str, body: bytes, *, size: bytes | None = None) -> bytes:
    return bytes.fromhex(name) + (size if size is not None else struct.pack(">I", 1 << 28 | len(body))) + body


class TestMatroska:
    HEAD = element("1a45dfa3", b"webm")
    BLOCKS = element("e7", b"\0") + element("a3", bytes(400)) * 20
    UNKNOWN = b"\x01" + b"\xff" * 7

    def file(self, blocks: bytes = BLOCKS) -> bytes:
        return self.HEAD + element("18538067", element("1654ae6b", bytes(50)) + element("1f43b675", blocks) * 3)

    def live(self) -> bytes:
        cluster = element("1f43b675", self.BLOCKS, size=self.UNKNOWN)
        return self.HEAD + element("18538067", element("1654ae6b", bytes(50)) + cluster * 3, size=self.UNKNOWN)

    def test_whole(self) -> None:
        assert measure(matroska_extent, self.file()) == Extent(whole=True)
        assert measure(matroska_extent, self.live()) == Extent()

    @pytest.mark.parametrize("missing", [1, 3, 200, 404, 10_000])
    def test_cut(self, missing: int) -> None:
        assert measure(matroska_extent, self.file()[:-missing]).cut is not None

    @pytest.mark.parametrize("missing", [1, 200, 403])
    def test_a_live_recording_cut_inside_a_block(self, missing: int) -> None:
        assert measure(matroska_extent, self.live()[:-missing]).cut is not None

    def test_a_live_recording_cut_between_blocks_leaves_no_trace(self) -> None:
        assert measure(matroska_extent, self.live()[: -len(element("a3", bytes(400)))]) == Extent()

    @pytest.mark.parametrize("junk", [bytes(300), b"\xa3\x10\xff\xff\xff" + bytes(295)])
    def test_what_is_no_element_is_damage(self, junk: bytes) -> None:
        damaged = self.BLOCKS[:2_000] + junk + self.BLOCKS[2_300:]
        assert measure(matroska_extent, self.file(damaged)).damage is not None
