"""Whole recordings that are built in unusual ways, and damaged ones; made by FFmpeg and espeak-ng."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from transcription_worker.decode import Decoder, DecodeRequest
from transcription_worker.errors import Reason, RecordingError

RATE, SECONDS = 44_100, 3.0
Make = Callable[..., Path]


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is not installed: its files cannot be checked")
        pytest.skip(f"{name} is not installed: install it to check its files")
    return path


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as decoder:
        yield decoder


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    """Three seconds of stereo."""
    time = np.arange(int(RATE * SECONDS)) / RATE
    samples = np.stack([0.5 * np.sin(2 * np.pi * f * time) for f in (440, 660)], axis=1)
    soundfile.write(tmp_path / "tone.wav", samples, RATE, subtype="PCM_16")
    return tmp_path / "tone.wav"


@pytest.fixture
def make(tone: Path, tmp_path: Path) -> Make:
    def make(name: str, *options: str | Path) -> Path:
        """FFmpeg's options between the tone as input 0 and the file."""
        command: list[str | Path] = [tool("ffmpeg"), "-y", "-v", "error", "-i", tone, *options, tmp_path / name]
        subprocess.run(command, check=True)
        return tmp_path / name

    return make


def decode(decoder: Decoder, path: Path, rate: int = 16_000) -> tuple[float, NDArray[np.float32]]:
    stream = decoder.decode(DecodeRequest(path, "mix", rate, 3600.0))
    samples = np.concatenate(list(stream), axis=1)[0]
    return stream.seconds, samples


def refusal(decoder: Decoder, path: Path) -> RecordingError:
    with pytest.raises(RecordingError) as caught:
        decode(decoder, path)
    return caught.value


def test_espeak_writes_headers_for_two_gigabytes(decoder: Decoder, tmp_path: Path) -> None:
    wav = subprocess.run([tool("espeak-ng"), "--stdout", "seven five three"], check=True, capture_output=True).stdout
    assert int.from_bytes(wav[40:44], "little") > 0x7FFF_0000
    (tmp_path / "a.wav").write_bytes(wav)
    seconds, samples = decode(decoder, tmp_path / "a.wav")
    assert seconds == pytest.approx((len(wav) - 44) / 2 / 22_050)
    assert np.abs(samples).max() > 0.1


@pytest.mark.parametrize("suffix", ["mp3", "m4a", "flac"])
def test_a_cover_picture_is_passed_over(suffix: str, make: Make, decoder: Decoder, tmp_path: Path) -> None:
    cover = tmp_path / "cover.png"
    picture = ("-f", "lavfi", "-i", "nullsrc=s=700x700,geq=random(1)*255:128:128", "-frames:v", "1")
    subprocess.run([tool("ffmpeg"), "-v", "error", *picture, cover], check=True)
    path = make(f"a.{suffix}", "-i", cover, "-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic")
    assert path.stat().st_size > 300_000
    assert decode(decoder, path)[0] == pytest.approx(SECONDS, abs=0.05)


@pytest.mark.parametrize(
    ("name", "codecs"),
    [
        ("a.mp4", ("-c:v", "mpeg4", "-c:a", "aac")),
        ("a.webm", ("-c:v", "libvpx", "-c:a", "libopus")),
        ("a.mkv", ("-c:v", "mpeg4", "-c:a", "libmp3lame")),
        ("a.ogv", ("-c:v", "libtheora", "-c:a", "libvorbis")),
    ],
)
@pytest.mark.parametrize("picture_seconds", [1, 6])
def test_the_sound_of_a_film(
    name: str, codecs: tuple[str, ...], picture_seconds: int, make: Make, decoder: Decoder
) -> None:
    """Also where the picture is longer: the container's duration is not that of the sound then."""
    film = ("-f", "lavfi", "-i", f"testsrc=s=160x120:d={picture_seconds}", "-map", "0:a", "-map", "1:v", *codecs)
    assert decode(decoder, make(name, *film))[0] == pytest.approx(SECONDS, abs=0.05)


def test_a_film_without_sound(make: Make, decoder: Decoder) -> None:
    path = make("a.mp4", "-f", "lavfi", "-i", "testsrc=s=160x120:d=1", "-map", "1:v", "-c:v", "mpeg4")
    error = refusal(decoder, path)
    assert error.reason is Reason.UNSUPPORTED_FORMAT
    assert error.message == "a.mp4 holds no audio stream; convert it, or leave it out of the job."


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_sound_that_begins_late_keeps_its_times(name: str, make: Make, tone: Path, decoder: Decoder) -> None:
    film = ("-f", "lavfi", "-i", "testsrc=s=160x120:d=5", "-itsoffset", "2", "-i", tone, "-map", "1:v", "-map", "2:a")
    seconds, samples = decode(decoder, make(name, *film, "-c:v", "mpeg4", "-c:a", "aac"))
    assert seconds == pytest.approx(2 + SECONDS, abs=0.1)
    assert np.abs(samples[: int(1.9 * 16_000)]).max() < 0.01
    assert np.abs(samples[int(2.1 * 16_000) : int(2.2 * 16_000)]).max() > 0.2


@pytest.mark.parametrize("suffix", ["ogg", "opus"])
def test_all_links_of_an_ogg_chain_are_heard(suffix: str, make: Make, decoder: Decoder, tmp_path: Path) -> None:
    first, second = make(f"1.{suffix}", "-serial_offset", "1"), make(f"2.{suffix}", "-serial_offset", "2")
    chain = tmp_path / f"chain.{suffix}"
    chain.write_bytes(first.read_bytes() + second.read_bytes())
    assert decode(decoder, chain)[0] == pytest.approx(2 * SECONDS, abs=0.1)
    chain.write_bytes(first.read_bytes() + second.read_bytes()[:-3_000])
    assert refusal(decoder, chain).reason is Reason.TRUNCATED


@pytest.mark.parametrize(
    ("first", "second"), [("a.opus", "a.opus"), ("a.ogg", "film.ogv"), ("a.ogg", "a.opus"), ("a.ogg", "speech.ogg")]
)
def test_links_that_would_go_unheard_are_damage(
    first: str, second: str, make: Make, decoder: Decoder, tmp_path: Path
) -> None:
    """FFmpeg passes over them, or takes them for another codec, without a word."""
    codecs = {
        "film.ogv": ("-f", "lavfi", "-i", "testsrc=s=64x48:d=1", "-map", "0:a", "-map", "1:v", "-c:a", "libvorbis"),
        "speech.ogg": ("-c:a", "libspeex", "-ar", "16000"),
    }
    chain = tmp_path / "chain.ogg"
    # Bit-exact files all have the serial number 0.
    parts = [make(name, *codecs.get(name, ()), "-fflags", "+bitexact").read_bytes() for name in (first, second)]
    chain.write_bytes(b"".join(parts))
    for _ in range(3):
        assert refusal(decoder, chain).reason is Reason.CORRUPT


def test_both_parts_of_joined_mp3_files_are_heard(make: Make, decoder: Decoder, tmp_path: Path) -> None:
    """The first part's header declares only the first part."""
    part = make("part.mp3").read_bytes()
    (tmp_path / "joined.mp3").write_bytes(part + part)
    assert decode(decoder, tmp_path / "joined.mp3")[0] == pytest.approx(2 * SECONDS, abs=0.2)


@pytest.mark.parametrize("suffix", ["mp3", "flac"])
@pytest.mark.parametrize("tail", [b"TAG" + bytes(125), b"APETAGEX" + bytes(4) + b"\x20" + bytes(19)])
def test_tags_at_the_end_are_no_cut(suffix: str, tail: bytes, make: Make, decoder: Decoder, tmp_path: Path) -> None:
    options = ("-write_xing", "0") if suffix == "mp3" else ()
    (tmp_path / f"tagged.{suffix}").write_bytes(make(f"a.{suffix}", *options).read_bytes() + tail)
    assert decode(decoder, tmp_path / f"tagged.{suffix}")[0] == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize(
    "name",
    ["a.flac", "a.mp3", "a.ogg", "a.opus", "a.m4a", "a.aac", "a.webm", "a.mka"],
)
@pytest.mark.parametrize("filler", ["zeros", "noise"])
def test_a_damaged_middle_is_not_passed_off_as_sound(
    name: str, filler: str, make: Make, decoder: Decoder, tmp_path: Path
) -> None:
    data = bytearray(make(name).read_bytes())
    hole = range(int(0.4 * len(data)), int(0.6 * len(data)))
    data[hole.start : hole.stop] = bytes(len(hole)) if filler == "zeros" else np.random.default_rng(0).bytes(len(hole))
    (tmp_path / f"damaged-{name}").write_bytes(data)
    error = refusal(decoder, tmp_path / f"damaged-{name}")
    assert error.reason is Reason.CORRUPT
    assert error.message.startswith(f"damaged-{name} is damaged: ")


def test_playlists_open_nothing(decoder: Decoder, tone: Path, tmp_path: Path) -> None:
    """FFmpeg would follow them to other files and hosts."""
    for name, text in {
        "a.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nfile://{tone}\n#EXT-X-ENDLIST\n",
        "a.ffconcat": f"ffconcat version 1.0\nfile {tone}\n",
    }.items():
        (tmp_path / name).write_text(text)
        assert refusal(decoder, tmp_path / name).reason is Reason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("suffix", ["mp3", "gsm", "vox", "snd", "audio"])
def test_the_name_decides_nothing(suffix: str, make: Make, decoder: Decoder, tmp_path: Path) -> None:
    """Behind a damaged tag the content alone does not convince libsndfile; an extension would."""
    tagged = bytearray(make("a.mp3", "-q:a", "4").read_bytes())
    assert tagged.startswith(b"ID3")
    tagged[0] ^= 1
    (tmp_path / f"named.{suffix}").write_bytes(tagged)
    assert decode(decoder, tmp_path / f"named.{suffix}")[0] == pytest.approx(SECONDS, abs=0.1)
