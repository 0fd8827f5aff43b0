"""`make bench-seams`: what cutting long recordings costs in words, against the whole file and against hard cuts.

The same recordings go through the same engine three times: whole, cut every so many seconds, and cut as the worker
cuts them. Prints the word error rate of each, and of the errors those within a second of our seams: words that a seam
loses are deletions, words that it doubles are insertions. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from scripts.tiny_speech import SAMPLE_RATE, Samples
from tests.bench.long_speech import Pauses, Spoken, make_recordings, make_utterances
from tests.jobs import TINY_CTC, TINY_TDT
from transcription_api.job import MAX_SEGMENT_SECONDS
from transcription_worker.assemble import Heard, assemble
from transcription_worker.batch import choose_batch
from transcription_worker.engines.nemo import NemoEngine
from transcription_worker.engines.protocol import Engine, Recognition
from transcription_worker.segment import AudioSegment, Segmenter
from transcription_worker.transcript import Word

NEAR_SECONDS = 1.0
BATCH_SECONDS = 960.0
BLOCK_SAMPLES = SAMPLE_RATE
"""As the decoder hands them on."""
GAP = ""
"""Stands in an alignment where one side has no word."""

Cut = Callable[[Samples, float], list[AudioSegment]]
Errors = Counter[str]


def whole(samples: Samples, _: float) -> list[AudioSegment]:
    return [AudioSegment(None, 0, 0.0, samples)]


def hard(samples: Samples, longest: float) -> list[AudioSegment]:
    step = int(longest * SAMPLE_RATE)
    return [
        AudioSegment(None, index, start / SAMPLE_RATE, samples[start : start + step])
        for index, start in enumerate(range(0, len(samples), step))
    ]


def ours(samples: Samples, longest: float) -> list[AudioSegment]:
    segmenter = Segmenter(None, SAMPLE_RATE, longest)
    segments: list[AudioSegment] = []
    for start in range(0, len(samples), BLOCK_SAMPLES):
        segments += segmenter.push(samples[start : start + BLOCK_SAMPLES])
    return segments + segmenter.finish()


WAYS: dict[str, Cut] = {"whole file": whole, "hard cuts": hard, "ours": ours}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, default=10_000, help="words per kind of pause (default 10,000)")
    parser.add_argument("--minutes", type=float, default=5.0, help="length of a recording (default 5)")
    parser.add_argument(
        "--longest", type=float, default=MAX_SEGMENT_SECONDS, help="maxSegmentSeconds, in place of its default"
    )
    parser.add_argument("--model", choices=("ctc", "tdt", "both"), default="both")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    models = {"ctc": [TINY_CTC], "tdt": [TINY_TDT], "both": [TINY_CTC, TINY_TDT]}[args.model]
    utterances = make_utterances(max(20, min(700, args.words // 5)), args.seed)
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            engine = NemoEngine(model, scratch=Path(folder))
            engine.load()
        print(f"\n{model.name}, segments of at most {args.longest:g} s, recordings of {args.minutes:g} min")
        print(
            f"{'pauses':8}{'':12}{'WER %':>8}{'to whole':>10}{'seams':>7}"
            f"   {'near our seams':24}{'everywhere (sub, ins, del)'}"
        )
        for pauses in Pauses:
            recordings = list(
                make_recordings(utterances, words=args.words, seconds=60 * args.minutes, pauses=pauses, seed=args.seed)
            )
            compare(engine, recordings, pauses, args.longest)


def compare(engine: Engine, recordings: Sequence[Spoken], pauses: Pauses, longest: float) -> None:
    words = sum(len(spoken.words) for spoken in recordings)
    seams = [[s.start + s.before for s in ours(spoken.samples, longest)[1:]] for spoken in recordings]
    rate_of_whole = 0.0
    for name, cut in WAYS.items():
        near, everywhere, cuts = Errors(), Errors(), 0
        segments = [cut(spoken.samples, longest) for spoken in recordings]
        for spoken, own, at, heard in zip(recordings, segments, seams, hear(engine, segments), strict=True):
            cuts += len(own) - 1
            for kind, time in errors(spoken, heard):
                everywhere[kind] += 1
                near[kind] += any(abs(time - seam) <= NEAR_SECONDS for seam in at)
        rate = 100 * everywhere.total() / words
        rate_of_whole = rate if name == "whole file" else rate_of_whole
        print(
            f"{pauses:8}{name:12}{rate:8.2f}{rate - rate_of_whole:+10.2f}{cuts:7}   {_shown(near):24}"
            f"{_shown(everywhere)} of {words}",
            flush=True,
        )


def hear(engine: Engine, recordings: Sequence[Sequence[AudioSegment]]) -> Iterator[list[Word]]:
    """The words of each recording, its segments in batches with those of the others as in a worker."""
    order = sorted(
        ((r, s) for r, segments in enumerate(recordings) for s in range(len(segments))),
        key=lambda place: len(recordings[place[0]][place[1]].samples),
    )
    lengths = [len(recordings[r][s].samples) / SAMPLE_RATE for r, s in order]
    heard: dict[tuple[int, int], Recognition] = {}
    while order:
        first, _ = choose_batch(lengths, len(order) - 1, BATCH_SECONDS)
        batch = order[first:]
        results = engine.transcribe([recordings[r][s].samples for r, s in batch])
        heard.update(zip(batch, results, strict=True))
        del order[first:], lengths[first:]
    for r, segments in enumerate(recordings):
        yield _words(segments, [heard[r, s] for s in range(len(segments))])


def _words(segments: Sequence[AudioSegment], recognitions: Iterable[Recognition]) -> list[Word]:
    heard = [
        Heard(s.channel, s.index, s.start, s.start + len(s.samples) / SAMPLE_RATE, recognition, s.before, s.after)
        for s, recognition in zip(segments, recognitions, strict=True)
    ]
    (channel,) = assemble(heard, [None])
    return [word for segment in channel.segments for word in segment.words]


def errors(spoken: Spoken, heard: Sequence[Word]) -> Iterator[tuple[str, float]]:
    """Kind and time of every error in the shortest alignment: what was said tells the time, else what was heard."""
    import kaldialign  # type: ignore[import-untyped]

    said_at, heard_at = iter(spoken.times), iter(word.start for word in heard)
    for said, word in kaldialign.align(list(spoken.words), [w.text for w in heard], GAP):
        time = next(heard_at) if said == GAP else next(said_at)
        if said != GAP and word != GAP:
            next(heard_at)
        if said != word:
            yield ("ins" if said == GAP else "del" if word == GAP else "sub"), time


def _shown(errors: Errors) -> str:
    return ", ".join(f"{errors[kind]} {kind}" for kind in ("sub", "ins", "del"))


if __name__ == "__main__":
    main()
