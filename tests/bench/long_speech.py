"""Long recordings of known words: utterances of many voices joined with short pauses, none, or in noise.

Deterministic: one seed gives the same words, voices and pauses.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from scripts.tiny_speech import HELD_OUT, SAMPLE_RATE, WORDS, Samples, Utterance, Voice, say_in_one_breath

NOISE_BELOW_SPEECH = 0.1
"""Root mean square of the noise over that of the speech: 20 dB below it."""


class Pauses(StrEnum):
    """What stands between two utterances."""

    SHORT = "short"
    """Digital silence of 0.1 to 0.4 s."""
    NOISE = "noise"
    """As short, with white noise over the whole recording: nowhere is it silent."""
    ABSENT = "absent"
    """Nothing: the next voice begins where the last one ended."""


@dataclass(frozen=True, slots=True, eq=False)
class Spoken:
    """One recording. `times` are the middles of the words in seconds, taken as evenly spread over their utterance."""

    samples: Samples
    words: tuple[str, ...]
    times: tuple[float, ...]


def make_utterances(count: int, seed: int) -> list[Utterance]:
    """`count` utterances of one to six words in one breath each, by voices that the tiny models were not trained on."""
    rng = random.Random(seed)
    shuffled_words = (word for _ in itertools.count() for word in rng.sample(WORDS, len(WORDS)))
    plans = [
        (
            list(itertools.islice(shuffled_words, rng.randint(1, 6))),
            Voice(rng.choice(HELD_OUT.voices), rng.choice(HELD_OUT.speeds), rng.randint(30, 70)),
        )
        for _ in range(count)
    ]
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        return list(threads.map(lambda plan: say_in_one_breath(*plan), plans))


def make_recordings(
    utterances: Sequence[Utterance], *, words: int, seconds: float, pauses: Pauses, seed: int
) -> Iterator[Spoken]:
    """Recordings of about `seconds` until they hold `words` words, every utterance as often as the others."""
    rng = random.Random(seed)
    shuffled = (utterance for _ in itertools.count() for utterance in rng.sample(utterances, len(utterances)))
    while words > 0:
        spoken = _recording(shuffled, seconds, pauses, rng)
        words -= len(spoken.words)
        yield spoken


def _recording(utterances: Iterator[Utterance], seconds: float, pauses: Pauses, rng: random.Random) -> Spoken:
    pieces: list[Samples] = []
    words: list[str] = []
    times: list[float] = []
    length = 0
    while length < seconds * SAMPLE_RATE:
        utterance = next(utterances)
        said = utterance.text.split()
        step = len(utterance.samples) / len(said)
        words += said
        times += [(length + (i + 0.5) * step) / SAMPLE_RATE for i in range(len(said))]
        pause = 0 if pauses is Pauses.ABSENT else round(rng.uniform(0.1, 0.4) * SAMPLE_RATE)
        pieces += [utterance.samples, np.zeros(pause, np.float32)]
        length += len(utterance.samples) + pause
    samples = np.concatenate(pieces)
    if pauses is Pauses.NOISE:
        level = NOISE_BELOW_SPEECH * float(np.sqrt(np.mean(np.square(samples))))
        noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(len(samples), dtype=np.float32)
        samples = samples + noise * np.float32(level)
    return Spoken(samples, tuple(words), tuple(times))
