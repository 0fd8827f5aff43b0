"""The good recordings of `examples/audio`: who says what, in which format.

How they are made and checked lives in `make_examples.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from scripts.tiny_speech import Voice

ANNA, DORA = Voice("en-us+f3", 147), Voice("en-gb+f2", 145)
BEN, CARL, EARL = Voice("en-us+m3", 145), Voice("en-us+m7", 150, 40), Voice("en-gb+m2", 150)


@dataclass(frozen=True, slots=True)
class Line:
    """Words said by a voice on one channel, after `pause` seconds of silence."""

    text: str
    voice: Voice
    channel: int = 0
    pause: float = 0.4


@dataclass(frozen=True, slots=True)
class Recording:
    """A file below `examples/audio`.

    Attributes:
        sample_rate: Hz.
        encoding: ffmpeg's output options; for AMR, which Debian's ffmpeg cannot write, a codec of PyAV.
        video: it has a picture track besides.
        tail: seconds of silence after the last line.
    """

    name: str
    sample_rate: int
    encoding: str
    lines: tuple[Line, ...]
    channels: int = 1
    video: bool = False
    tail: float = 0.4


def lines(voice: Voice, *texts: str) -> tuple[Line, ...]:
    return tuple(Line(text, voice) for text in texts)


RECORDINGS = (
    Recording("directions.wav", 16_000, "-c:a pcm_s16le", lines(ANNA, "go left two", "go right three", "stop")),
    Recording("sound-check.wav", 48_000, "-c:a pcm_s24le", lines(BEN, "one two")),
    Recording("combination.flac", 44_100, "-c:a flac", lines(EARL, "left three", "right seven", "left nine")),
    Recording("countdown.mp3", 44_100, "-c:a libmp3lame -b:a 64k", lines(DORA, "nine eight seven six", "stop")),
    Recording("answer.opus", 48_000, "-c:a libopus -b:a 24k", lines(BEN, "yes", "yes", "no stop")),
    Recording("order-number.ogg", 22_050, "-c:a libvorbis -q:a 3", lines(CARL, "five eight zero two", "six six one")),
    Recording("room-number.aiff", 22_050, "-c:a pcm_s16be", lines(ANNA, "four zero five", "go right")),
    Recording("extension.au", 8_000, "-c:a pcm_mulaw", lines(BEN, "seven two nine", "yes")),
    Recording("score.caf", 24_000, "-c:a pcm_s16le", lines(ANNA, "three two", "no", "three one")),
    Recording("voice-memo.m4a", 44_100, "-c:a aac -b:a 64k", lines(ANNA, "go right", "left six", "stop")),
    Recording("screen-recording.mp4", 48_000, "-c:a aac -b:a 64k", lines(BEN, "left left right", "go"), video=True),
    Recording("radio.aac", 32_000, "-c:a aac -b:a 64k -f adts", lines(EARL, "zero nine one seven", "stop")),
    Recording("meeting.webm", 48_000, "-c:a libopus -b:a 32k", lines(DORA, "yes", "go eight two five", "no stop")),
    Recording("dictation.mkv", 16_000, "-c:a flac", lines(CARL, "two six", "stop", "nine three")),
    Recording("calls/voicemail.amr", 8_000, "libopencore_amrnb", lines(BEN, "seven one", "two nine six")),
    Recording(
        "calls/support.wav",
        8_000,
        "-c:a pcm_s16le",
        (Line("seven three nine", BEN, 0), Line("yes six two", ANNA, 1), Line("no", BEN, 0), Line("stop", ANNA, 1)),
        channels=2,
    ),
    Recording("silence.flac", 16_000, "-c:a flac", (), tail=3.0),
    Recording("long/twelve-minutes.opus", 16_000, "-c:a libopus -b:a 16k", ()),
)
