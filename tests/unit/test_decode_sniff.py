"""Containers are told by content: names play no part, and nothing that is not audio passes for it."""

from __future__ import annotations

import io

import numpy as np
import pytest

from transcription_worker.decode.sniff import Container, sniff

MPEG = bytes.fromhex("fffb9064") + bytes(413)
ADTS = bytes([0xFF, 0xF1, 0x50, 0x80, 0x20, 0x1F, 0xFC]) + bytes(249)
ID3 = b"ID3\4\0\0\0\0\1\0" + bytes(128)


@pytest.mark.parametrize(
    ("data", "container"),
    [
        (b"RIFF\0\0\0\0WAVEfmt ", Container.WAV),
        (b"RF64\xff\xff\xff\xffWAVEds64", Container.WAV),
        (bytes.fromhex("726966662e91cf11a5d628db04c10000"), Container.W64),
        (b"FORM\0\0\0\0AIFF", Container.AIFF),
        (b"FORM\0\0\0\0AIFC", Container.AIFF),
        (b".snd\0\0\0\x18", Container.AU),
        (b"caff\0\1\0\0", Container.CAF),
        (b"fLaC\0\0\0\x22", Container.FLAC),
        (ID3 + b"fLaC", Container.FLAC),
        (b"OggS\0\2", Container.OGG),
        (b"\0\0\0\x20ftypM4A ", Container.MP4),
        (b"\0\0\0\x08wide\0\0\0\0mdat", Container.MP4),
        (b"\x1a\x45\xdf\xa3\x01", Container.MATROSKA),
        (b"#!AMR\n\x3c", Container.AMR),
        (b"#!AMR-WB\n\x14", Container.AMR),
        (MPEG * 10, Container.MP3),
        (MPEG[:300], Container.MP3),
        (ID3 + ID3 + MPEG * 10, Container.MP3),
        (ID3[:60], Container.MP3),
        (MPEG[200:] + MPEG * 10, Container.MP3),
        (ADTS * 10, Container.ADTS),
        (ID3 + ADTS * 10, Container.ADTS),
        (ADTS[90:] + ADTS * 10, Container.ADTS),
    ],
)
def test_known_containers(data: bytes, container: Container) -> None:
    assert sniff(io.BytesIO(data)) is container


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"a",
        b"<html><body>Access denied</body></html>",
        b"%PDF-1.7\n",
        b"#EXTM3U\n#EXTINF:10,\nhttp://10.0.0.1/a.ts\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\n",
        b"\0" * 100_000,
        b"\xff" * 100_000,
        b"RIFF\0\0\0\0AVI LIST" + MPEG * 10,
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + MPEG * 10,
        b"".join(b"G\x40\x11\x10" + MPEG[:184] for _ in range(9)),
        b"Ein Text, kein Ton.\n" * 5_000,
    ],
)
def test_what_is_no_audio(data: bytes) -> None:
    assert sniff(io.BytesIO(data)) is None


def test_noise_is_no_audio() -> None:
    noise = np.random.default_rng(0)
    assert all(sniff(io.BytesIO(noise.bytes(70_000))) is None for _ in range(50))
