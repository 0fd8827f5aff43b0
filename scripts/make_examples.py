"""Make `examples/audio`, `examples/bad-audio` and `examples/expected.jsonl` with espeak-ng and ffmpeg.

    python -m scripts.make_examples

Nothing is written that the tiny models do not hear exactly: these recordings test a pipeline, and a wrong word in
their transcripts should mean that the pipeline lost, doubled or misread something. What is said stands in
`example_recordings.py`, what is wrong with the bad ones in `example_faults.py`; the models come from
`train_tiny_ctc.py` and `train_tiny_tdt.py`.

Needs espeak-ng and ffmpeg on the PATH. The same versions of these, of PyAV and of the models give the same bytes.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.example_faults import FAULTS
from scripts.example_recordings import RECORDINGS, Line, Recording
from scripts.media import decode, encode
from scripts.tiny_speech import HELD_OUT, SAMPLE_RATE, TRAINING, WORDS, Samples, Voice, speak
from scripts.tiny_training import MODELS, be_deterministic, quieten_toolkit

EXAMPLES = MODELS.parent
LONG = "long/twelve-minutes.opus"
LONG_SECONDS = 720.0
PIECES = (15.0, 30.0)
"""Seconds: a long recording is checked in pieces of about these lengths, cut in its pauses as a pipeline would."""
CONTEXTS = (0, 2, 4)
"""Turns before a turn of the long recording with which it is tried."""
PATIENCE = 4
"""Turns refused in a row before the one before them is taken back."""
STRICT = "tiny-ctc.nemo"
"""The model that must hear the long recording exactly too."""
TOLERATED = {(LONG, "tiny-tdt.nemo"): 0.01}
"""Word error rates that are accepted; 0 elsewhere. The transducer has heard no training utterance of such length."""

Ear = Callable[[Sequence[Samples]], list[str]]
"""A model: the texts of some recordings at SAMPLE_RATE."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """Where a line came to lie: seconds from the start of the recording."""

    start: float
    end: float
    channel: int
    text: str


def open_ear(model_file: Path) -> Ear:
    from nemo.collections.asr.models import ASRModel

    model = ASRModel.restore_from(str(model_file), map_location="cpu")

    def hear(recordings: Sequence[Samples]) -> list[str]:
        model.eval()
        return [h.text for h in model.transcribe(list(recordings), batch_size=8, verbose=False)]

    return hear


def conversation(recording: Recording, folder: Path, ears: dict[str, Ear], seed: int = 12) -> tuple[Line, ...]:
    """Turns of changing voices for LONG_SECONDS: those that every model hears alone, and STRICT after others too."""
    rng = random.Random(seed)
    turns: list[tuple[Line, ...]] = []
    seconds: list[float] = []
    refused = 0
    while sum(seconds) < LONG_SECONDS:
        voice = Voice(
            rng.choice(HELD_OUT.voices + TRAINING.voices), rng.choice((140, 150, 160, 170)), rng.randint(35, 65)
        )
        turn = tuple(
            Line(" ".join(rng.choices(WORDS, k=rng.randint(2, 7))), voice, pause=round(rng.uniform(0.5, 1.6), 2))
            for _ in range(rng.randint(1, 4))
        )
        takes = [perform(replace(recording, lines=sum(turns[max(0, len(turns) - n) :], ()) + turn)) for n in CONTEXTS]
        heard = [through(recording, performed, folder) for performed, _ in takes]
        texts = [" ".join(phrase.text for phrase in phrases) for _, phrases in takes]
        if all(ear(heard[:1]) == texts[:1] for ear in ears.values()) and ears[STRICT](heard) == texts:
            turns.append(turn)
            seconds.append(takes[0][1][-1].end)
            refused = 0
            continue
        refused += 1
        if refused == PATIENCE and turns:
            # What came before is misheard in this context, whatever follows.
            turns.pop()
            seconds.pop()
            refused = 0
    return sum(turns, ())


def through(recording: Recording, performed: NDArray[np.float32], folder: Path) -> Samples:
    """What a listener gets of samples in the recording's format, at SAMPLE_RATE."""
    take = folder / f"take{Path(recording.name).suffix}"
    encode(performed, recording.sample_rate, take, recording.encoding)
    return decode(take, SAMPLE_RATE)


def perform(recording: Recording) -> tuple[NDArray[np.float32], tuple[Phrase, ...]]:
    """Samples [n, channels] at the recording's rate, and where each line lies; lines never overlap."""
    rate = recording.sample_rate
    pieces, phrases, position = [], [], 0
    for line in recording.lines:
        voiced = speak(line.text, line.voice, rate)
        start = position + round(line.pause * rate)
        piece = np.zeros((start - position + len(voiced), recording.channels), np.float32)
        piece[start - position :, line.channel] = 0.9 * voiced
        pieces.append(piece)
        position += len(piece)
        phrases.append(Phrase(round(start / rate, 2), round(position / rate, 2), line.channel, line.text))
    pieces.append(np.zeros((round(recording.tail * rate), recording.channels), np.float32))
    return np.concatenate(pieces), tuple(phrases)


def pieces_of(samples: Samples, phrases: Sequence[Phrase], seconds: float) -> list[tuple[Samples, str]]:
    """A recording cut in the middle of its pauses into pieces of at least `seconds`, each with its text."""
    cut, begin, texts = [], 0, list[str]()
    for index, phrase in enumerate(phrases):
        texts.append(phrase.text)
        last = index + 1 == len(phrases)
        end = len(samples) if last else int((phrase.end + phrases[index + 1].start) / 2 * SAMPLE_RATE)
        if last or end - begin >= seconds * SAMPLE_RATE:
            cut.append((samples[begin:end], " ".join(texts)))
            begin, texts = end, []
    return cut or [(samples, "")]


def check(name: str, samples: Samples, phrases: Sequence[Phrase], ears: dict[str, Ear]) -> list[str]:
    """What a model hears wrongly, in sentences; empty where each is as good as TOLERATED asks."""
    from nemo.collections.asr.metrics.wer import word_error_rate

    wrong = []
    for seconds in PIECES if name == LONG else (LONG_SECONDS,):
        inputs, texts = zip(*pieces_of(samples, phrases, seconds), strict=True)
        for model, ear in ears.items():
            heard = ear(inputs)
            if list(texts) != heard and word_error_rate(heard, list(texts)) > TOLERATED.get((name, model), 0.0):
                wrong += [
                    f"{name}: {model} hears {other!r} where {text!r} is said"
                    for other, text in zip(heard, texts, strict=True)
                    if other != text
                ]
    return wrong


def make(folder: Path, ears: dict[str, Ear]) -> None:
    """Write everything below `folder`.

    Raises:
        SystemExit: a model hears something else than was said.
    """
    wrong, expected = [], []
    for planned in RECORDINGS:
        recording = planned
        if planned.name == LONG:
            recording = replace(planned, lines=conversation(planned, folder, ears))
        path = folder / "audio" / recording.name
        path.parent.mkdir(parents=True, exist_ok=True)
        performed, phrases = perform(recording)
        encode(performed, recording.sample_rate, path, recording.encoding, video=recording.video)
        wrong += check(recording.name, decode(path, SAMPLE_RATE), phrases, ears)
        expected.append(
            {
                "file": f"audio/{recording.name}",
                "seconds": round(len(performed) / recording.sample_rate, 2),
                "channels": recording.channels,
                "text": " ".join(phrase.text for phrase in phrases),
                "phrases": [asdict(phrase) for phrase in phrases],
            }
        )
        print(f"{recording.name}: {path.stat().st_size:,} bytes, {expected[-1]['seconds']} s", flush=True)
    for fault in FAULTS:
        path = folder / "bad-audio" / fault.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(fault.content(folder / "audio"))
        expected.append({"file": f"bad-audio/{fault.name}", "reason": fault.reason, "what": fault.what})
    rows = "".join(json.dumps(row) + "\n" for row in expected)
    (folder / "expected.jsonl").write_text(rows, encoding="ascii")
    if wrong:
        raise SystemExit("\n".join([*wrong, "Nothing was written: say something else, or train the models longer."]))


def main() -> None:
    quieten_toolkit()
    be_deterministic(seed=0)
    ears = {path.name: open_ear(path) for path in sorted(MODELS.glob("*.nemo"))}
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary)
        make(made, ears)
        for name in ("audio", "bad-audio"):
            shutil.rmtree(EXAMPLES / name, ignore_errors=True)
            shutil.copytree(made / name, EXAMPLES / name)
        shutil.copyfile(made / "expected.jsonl", EXAMPLES / "expected.jsonl")


if __name__ == "__main__":
    main()
