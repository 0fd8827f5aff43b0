"""One recording from file to blocks: what is refused, with which reason and in which words."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from transcription_worker.decode.recording import Recording
from transcription_worker.decode.request import Channels, DecodeRequest
from transcription_worker.errors import Reason, RecordingError

Samples = NDArray[np.float32]
RATE = 16_000


def read(
    path: Path, channels: Channels = "mix", max_seconds: float = 3600.0, name: str = ""
) -> tuple[Recording, Samples]:
    with Recording(DecodeRequest(path, channels, RATE, max_seconds, name)) as recording:
        blocks = list(recording)
    return recording, np.concatenate(blocks, axis=1)


def refusal(path: Path, channels: Channels = "mix", max_seconds: float = 3600.0, name: str = "") -> RecordingError:
    with pytest.raises(RecordingError) as caught:
        read(path, channels, max_seconds, name)
    return caught.value


@pytest.fixture
def stereo(tmp_path: Path) -> Path:
    """2.5 s: 0.25 on the left, -0.75 on the right."""
    return write_stereo(tmp_path, 2.5)


def write_stereo(tmp_path: Path, seconds: float) -> Path:
    samples = np.tile(np.array([[0.25, -0.75]]), (int(seconds * RATE), 1))
    soundfile.write(tmp_path / "stereo.wav", samples, RATE, subtype="PCM_16")
    return tmp_path / "stereo.wav"


def test_blocks_are_some_seconds(tmp_path: Path) -> None:
    stereo = write_stereo(tmp_path, 18.5)
    with Recording(DecodeRequest(stereo, "each", RATE, 3600.0)) as recording:
        assert [block.shape for block in recording] == [(2, 8 * RATE), (2, 8 * RATE), (2, 5 * RATE // 2)]
        assert recording.seconds == 18.5
        assert (recording.info.sample_rate, recording.info.channels, recording.info.codec) == (RATE, 2, "pcm_s16")
        assert recording.info.declared_seconds == 18.5


@pytest.mark.parametrize(("channels", "levels"), [("mix", [-0.25]), ("each", [0.25, -0.75]), (0, [0.25]), (1, [-0.75])])
def test_channels(stereo: Path, channels: Channels, levels: list[float]) -> None:
    _, samples = read(stereo, channels)
    assert np.allclose(samples, np.array(levels)[:, None], atol=1e-3)


@pytest.mark.parametrize("channel", [2, -1])
def test_a_channel_that_is_not_there(stereo: Path, channel: int) -> None:
    error = refusal(stereo, channel)
    assert error.reason is Reason.CHANNEL_MISSING
    assert error.message.startswith(f"stereo.wav has 2 channels, channel {channel} (counted from 0) is not there; ")


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_all_sample_formats_have_the_same_full_scale(subtype: str, tmp_path: Path) -> None:
    ramp = np.linspace(-1.0, 1.0, RATE, endpoint=False)
    soundfile.write(tmp_path / "a.wav", ramp, RATE, subtype=subtype)
    _, samples = read(tmp_path / "a.wav")
    assert np.abs(samples[0] - ramp).max() < 1 / 100


def test_too_long_by_its_header_is_refused_before_decoding(stereo: Path) -> None:
    error = refusal(stereo, max_seconds=2.0)
    assert error.reason is Reason.TOO_LONG
    assert error.message == "stereo.wav is 2.5 s, more than the 2 s that are allowed; cut it into parts."


def test_too_long_is_found_out_where_nothing_is_declared(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", np.zeros(5 * RATE), RATE, subtype="PCM_16")
    whole = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(whole[:21] + bytes([whole[21] & 0xF0]) + bytes(4) + whole[26:])
    assert read(tmp_path / "a.flac")[0].seconds == 5.0
    assert refusal(tmp_path / "a.flac", max_seconds=3.0).reason is Reason.TOO_LONG


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data\0\0\0\0", Reason.EMPTY),
        (b"<html>Access denied</html>", Reason.UNSUPPORTED_FORMAT),
        (b"%PDF-1.7 and so on", Reason.UNSUPPORTED_FORMAT),
        (np.random.default_rng(0).bytes(50_000), Reason.UNSUPPORTED_FORMAT),
        (b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0", Reason.TRUNCATED),
        (b"fLaC\0\0\0\x22" + bytes(10), Reason.TRUNCATED),
        (b"\0\0\0\x10ftypM4A \0\0\0\0" + b"\0\0\0\x10mdat" + bytes(8), Reason.TRUNCATED),
        (b"\0\0\0\x10ftypM4A \0\0\0\0" + b"\0\0\0\x10moov" + b"\xee" * 8, Reason.CORRUPT),
    ],
)
def test_what_is_no_recording(content: bytes, reason: Reason, tmp_path: Path) -> None:
    (tmp_path / "upload.wav").write_bytes(content)
    error = refusal(tmp_path / "upload.wav", name="calls/upload.wav")
    assert error.reason is reason
    assert error.message.startswith("calls/upload.wav ")
    assert error.message.count("\n") == 0
    assert error.message.endswith(".")
    assert str(tmp_path) not in error.message
    assert not error.retryable


def test_a_file_that_is_gone_is_no_fault_of_the_recording(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone.wav").message == "gone.wav: cannot be read here: No such file or directory."


@pytest.mark.parametrize(
    ("channels", "rate"),
    [(65_535, 16_000), (200, 16_000), (1, 4_000_000_000), (1, 1_000_000), (1, 3), (0, 16_000), (1, 0)],
)
def test_absurd_headers_are_damage(channels: int, rate: int, tmp_path: Path) -> None:
    form = struct.pack("<HHIIHH", 1, channels, rate, min(rate * channels * 2, 2**32 - 1), min(channels * 2, 65_535), 16)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", 64_000) + bytes(64_000)
    (tmp_path / "a.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    assert refusal(tmp_path / "a.wav").reason is Reason.CORRUPT


def test_a_declared_month_is_damage(tmp_path: Path) -> None:
    """A FLAC header can declare 2^36 samples without a byte behind it."""
    soundfile.write(tmp_path / "a.flac", np.zeros(RATE), RATE, subtype="PCM_16")
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21] |= 0x0F
    data[22:26] = b"\xff" * 4
    (tmp_path / "a.flac").write_bytes(data)
    assert refusal(tmp_path / "a.flac", max_seconds=1e9).reason in (Reason.CORRUPT, Reason.TRUNCATED)
