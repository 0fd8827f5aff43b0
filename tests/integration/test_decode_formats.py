"""Every format, as FFmpeg writes it, decodes to what FFmpeg itself hears in it; every cut of it is found out."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from transcription_worker.decode import AudioInfo, Decoder, DecodeRequest
from transcription_worker.errors import Reason, RecordingError

pytestmark = pytest.mark.slow

Pcm = NDArray[np.float32]
SECONDS = 3.0
CUTS = (0.02, 0.1, 0.25, 0.333, 0.5, 0.667, 0.75, 0.9, 0.95)


@dataclass(frozen=True)
class Format:
    """How FFmpeg is asked for it, and what it may differ by from FFmpeg's own decoder (dB of signal to noise)."""

    suffix: str
    options: tuple[str, ...] = ()
    snr: float = 60.0
    layouts: tuple[tuple[int, int], ...] = ((8_000, 1), (44_100, 2), (48_000, 6))


FORMATS = {
    "wav": Format("wav"),
    "wav-24": Format("wav", ("-c:a", "pcm_s24le")),
    "wav-float": Format("wav", ("-c:a", "pcm_f32le")),
    "wav-mulaw": Format("wav", ("-c:a", "pcm_mulaw")),
    # FFmpeg's arithmetic is not the standard's, the difference adds up.
    "wav-ima-adpcm": Format("wav", ("-c:a", "adpcm_ima_wav"), snr=25.0, layouts=((8_000, 1), (44_100, 2))),
    "wav-gsm": Format("wav", ("-c:a", "libgsm_ms"), layouts=((8_000, 1),)),
    "wav-mp3": Format("wav", ("-c:a", "libmp3lame"), layouts=((8_000, 1), (44_100, 2))),
    "rf64": Format("wav", ("-rf64", "always")),
    "w64": Format("w64"),
    "aiff": Format("aiff"),
    "aifc-mulaw": Format("aifc", ("-c:a", "pcm_mulaw", "-f", "aiff")),
    "au": Format("au"),
    "caf": Format("caf"),
    "caf-alac": Format("caf", ("-c:a", "alac")),
    "flac": Format("flac"),
    "ogg-flac": Format("ogg", ("-c:a", "flac")),
    "ogg-vorbis": Format("ogg", ("-c:a", "libvorbis")),
    "ogg-opus": Format("opus", snr=40.0),
    "ogg-speex": Format("ogg", ("-c:a", "libspeex"), snr=40.0, layouts=((8_000, 1), (16_000, 2))),
    "mp3": Format("mp3", layouts=((8_000, 1), (44_100, 2))),
    "mp3-vbr": Format("mp3", ("-q:a", "4"), layouts=((8_000, 1), (44_100, 2))),
    "mp3-no-header": Format("mp3", ("-write_xing", "0"), layouts=((8_000, 1), (44_100, 2))),
    "m4a": Format("m4a"),
    "m4a-faststart": Format("m4a", ("-movflags", "+faststart")),
    "m4a-alac": Format("m4a", ("-c:a", "alac")),
    "mp4-fragmented": Format("mp4", ("-movflags", "frag_keyframe+empty_moov")),
    "3gp": Format("3gp", ("-c:a", "aac")),
    "mov": Format("mov", ("-c:a", "pcm_s16le")),
    "aac": Format("aac"),
    "webm-opus": Format("webm"),
    "webm-live": Format("webm", ("-live", "1")),
    "mka-vorbis": Format("mka"),
    "mkv-flac": Format("mkv", ("-c:a", "flac")),
}
CASES = [
    pytest.param(name, rate, channels, id=f"{name}-{rate}-{channels}")
    for name, form in FORMATS.items()
    for rate, channels in form.layouts
]


@pytest.fixture(scope="module")
def ffmpeg() -> str:
    path = shutil.which("ffmpeg")
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail("ffmpeg is not installed: no format can be checked")
        pytest.skip("ffmpeg is not installed: install it to check the formats")
    return path


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as decoder:
        yield decoder


def sound(rate: int, channels: int, seconds: float = SECONDS) -> Pcm:
    """Like a voice, another one on every channel: harmonics under an envelope, and a little noise; [n, channels]."""
    noise = np.random.default_rng(rate + channels)
    time = np.arange(int(rate * seconds)) / rate
    columns = []
    for channel in range(channels):
        pitch = 150 + 40 * channel
        tone = sum(np.sin(2 * np.pi * pitch * k * time + k) / k for k in range(1, 12) if pitch * k < 0.4 * rate)
        voice = tone * (0.5 + 0.5 * np.sin(2 * np.pi * (2.3 + 0.3 * channel) * time)) + 0.01 * noise.normal(
            size=len(time)
        )
        columns.append(0.5 * voice / np.abs(voice).max())
    return np.stack(columns, axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def recordings(ffmpeg: str, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int, int], Path]:
    folder = tmp_path_factory.mktemp("formats")
    made = {}
    for name, form in FORMATS.items():
        for rate, channels in form.layouts:
            source = folder / f"source-{rate}-{channels}.wav"
            if not source.exists():
                soundfile.write(source, sound(rate, channels), rate, subtype="PCM_16")
            path = folder / f"{name}-{rate}-{channels}.{form.suffix}"
            subprocess.run([ffmpeg, "-v", "error", "-i", source, *form.options, path], check=True)
            made[name, rate, channels] = path
    return made


def decode(decoder: Decoder, path: Path, rate: int | None = None) -> tuple[AudioInfo, float, Pcm]:
    """All channels at `rate`, default: the recording's own."""
    if rate is None:
        with decoder.decode(DecodeRequest(path, "mix", 16_000, 3600.0)) as probe:
            rate = probe.info.sample_rate
    stream = decoder.decode(DecodeRequest(path, "each", rate, 3600.0))
    samples = np.concatenate(list(stream), axis=1)
    return stream.info, stream.seconds, samples


def by_ffmpeg(ffmpeg: str, path: Path, info: AudioInfo) -> Pcm:
    command: list[str | Path] = [
        ffmpeg,
        "-v",
        "error",
        "-i",
        path,
        "-f",
        "f32le",
        "-c:a",
        "pcm_f32le",
        "-ar",
        str(info.sample_rate),
        "-",
    ]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.float32).reshape(-1, info.channels).T


def signal_to_noise(reference: Pcm, samples: Pcm) -> float:
    """dB, at the shift (of up to one frame at the ends of both) where they fit best."""
    length = min(reference.shape[1], samples.shape[1])
    spectrum = np.fft.rfft(reference[0], 2 * length) * np.conj(np.fft.rfft(samples[0], 2 * length))
    shift = int(np.argmax(np.fft.irfft(spectrum)))
    shift = shift - 2 * length if shift > length else shift
    reference, samples = reference[:, max(0, shift) :], samples[:, max(0, -shift) :]
    length = min(reference.shape[1], samples.shape[1])
    error = np.sum(np.square(reference[:, :length] - samples[:, :length], dtype=np.float64))
    power = np.sum(np.square(reference[:, :length], dtype=np.float64))
    return float(10 * np.log10(power / (error + 1e-20)))


@pytest.mark.parametrize(("name", "rate", "channels"), CASES)
def test_decodes_to_what_ffmpeg_hears(
    name: str, rate: int, channels: int, recordings: dict[tuple[str, int, int], Path], decoder: Decoder, ffmpeg: str
) -> None:
    path = recordings[name, rate, channels]
    info, seconds, samples = decode(decoder, path)
    expected = by_ffmpeg(ffmpeg, path, info)
    frame = 1152
    assert info.channels == channels == samples.shape[0]
    assert abs(samples.shape[1] - expected.shape[1]) <= frame
    assert seconds == pytest.approx(samples.shape[1] / info.sample_rate, abs=1e-6)
    # Encoders pad to whole frames, at both ends where the container keeps no account of it.
    assert SECONDS - 0.05 < seconds < SECONDS + 0.3
    assert signal_to_noise(expected, samples) > FORMATS[name].snr


@pytest.mark.parametrize(("name", "rate", "channels"), CASES)
def test_every_cut_is_found_out(
    name: str, rate: int, channels: int, recordings: dict[tuple[str, int, int], Path], decoder: Decoder, tmp_path: Path
) -> None:
    whole = recordings[name, rate, channels].read_bytes()
    missed = []
    for share in CUTS:
        # An odd length never falls between two of the constant frames of an MP3 without a header.
        length = int(len(whole) * share) | 1
        path = tmp_path / recordings[name, rate, channels].name
        path.write_bytes(whole[:length])
        try:
            for _ in decoder.decode(DecodeRequest(path, "mix", 16_000, 3600.0)):
                pass
            missed.append(f"{share}: passed")
        except RecordingError as error:
            if error.reason is not Reason.TRUNCATED or not error.message.startswith(f"{path.name} is truncated: "):
                missed.append(f"{share}: {error.reason}: {error}")
    assert missed == []


@pytest.fixture(scope="module")
def amr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AMR at 12.2 kbit/s, through PyAV: FFmpeg's command is mostly built without the encoder."""
    path = tmp_path_factory.mktemp("amr") / "a.amr"
    samples = (sound(8_000, 1).T * 32767).astype(np.int16)
    with av.open(str(path), "w", format="amr") as file:
        stream = file.add_stream("libopencore_amrnb", rate=8_000, layout="mono")
        stream.bit_rate = 12_200
        for start in range(0, samples.shape[1], 160):
            frame = av.AudioFrame.from_ndarray(samples[:, start : start + 160], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 8_000, start
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def test_amr_decodes_to_what_ffmpeg_hears(amr: Path, decoder: Decoder, ffmpeg: str) -> None:
    info, seconds, samples = decode(decoder, amr)
    assert (info.codec, info.sample_rate, info.channels) == ("amr_nb", 8_000, 1)
    assert seconds == pytest.approx(SECONDS, abs=0.05)
    assert signal_to_noise(by_ffmpeg(ffmpeg, amr, info), samples) > 60


def test_amr_cut_inside_a_frame_is_found_out(amr: Path, decoder: Decoder, tmp_path: Path) -> None:
    whole = amr.read_bytes()
    header, frame = len(b"#!AMR\n"), 32
    for share in CUTS:
        cut = tmp_path / "cut.amr"
        cut.write_bytes(whole[: header + int(len(whole) * share) // frame * frame + 17])
        with pytest.raises(RecordingError, match=r"its last frame, after \d\.\d s, is incomplete") as caught:
            list(decoder.decode(DecodeRequest(cut, "mix", 16_000, 3600.0)))
        assert caught.value.reason is Reason.TRUNCATED


def test_amr_wb_is_decoded(decoder: Decoder, tmp_path: Path) -> None:
    """No encoder is at hand: frames of 23.85 kbit/s without content; the decoder makes two seconds of them."""
    path = tmp_path / "a.amr"
    path.write_bytes(b"#!AMR-WB\n" + (b"\x44" + bytes(60)) * 100)
    info, seconds, samples = decode(decoder, path)
    assert (info.codec, info.sample_rate, info.channels) == ("amr_wb", 16_000, 1)
    assert seconds == 2.0
    assert samples.shape == (1, 32_000)


STREAMED = {
    "wav": (), "aiff": (), "au": (), "w64": (), "caf": (), "flac": (), "ogg": (), "mp3": (), "adts": (),
    "webm": (), "matroska": (), "mp4": ("-movflags", "frag_keyframe+empty_moov"),
}  # fmt: skip


@pytest.mark.parametrize("container", STREAMED)
def test_a_whole_file_written_into_a_pipe_is_not_taken_for_cut(
    container: str, ffmpeg: str, decoder: Decoder, tmp_path: Path
) -> None:
    """The writer could not seek back: lengths in headers are missing or placeholders."""
    source, path = tmp_path / "source.wav", tmp_path / "recording"
    soundfile.write(source, sound(44_100, 2), 44_100, subtype="PCM_16")
    command: list[str | Path] = [ffmpeg, "-v", "error", "-i", source, *STREAMED[container], "-f", container, "-"]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    path.write_bytes(writer.stdout.read())
    writer.stdout.close()
    assert writer.wait() == 0
    _, seconds, _ = decode(decoder, path, 44_100)
    assert seconds == pytest.approx(SECONDS, abs=0.1)
