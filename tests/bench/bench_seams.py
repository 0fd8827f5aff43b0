"""`make bench-seams`: what cutting long recordings costs in words, against the whole file and against hard cuts.

The same recordings go through the same engine three times: whole, cut every so many seconds, and cut as the worker
cuts them. Prints the word error rate of each, and of the errors those within a second of our seams: words that a seam
loses are deletions, words that it doubles are insertions. A draw repeats its utterances, so that its luck does not go
away with more words: the gap to the whole file is the mean over several draws, with its standard error. Nothing here
passes or fails.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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


WHOLE = "whole file"
WAYS: dict[str, Cut] = {WHOLE: whole, "hard cuts": hard, "ours": ours}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, default=10_000, help="words per kind of pause and draw (default 10,000)")
    parser.add_argument("--minutes", type=float, default=5.0, help="length of a recording (default 5)")
    parser.add_argument(
        "--longest", type=float, default=MAX_SEGMENT_SECONDS, help="maxSegmentSeconds, in place of its default"
    )
    parser.add_argument("--model", choices=("ctc", "tdt", "both"), default="both")
    parser.add_argument("--seed", type=int, default=0, help="of the first draw (default 0)")
    parser.add_argument("--draws", type=int, default=8, help="draws of other utterances and voices (default 8)")
    args = parser.parse_args()
    models = {"ctc": [TINY_CTC], "tdt": [TINY_TDT], "both": [TINY_CTC, TINY_TDT]}[args.model]
    for model in models:
        print(f"\n{model.name}, segments of at most {args.longest:g} s, recordings of {args.minutes:g} min")
        with tempfile.TemporaryDirectory() as folder:
            engine = NemoEngine(model, scratch=Path(folder))
            engine.load()
        tallies = {pauses: {way: Tally() for way in WAYS} for pauses in Pauses}
        for seed in range(args.seed, args.seed + args.draws):
            utterances = make_utterances(max(20, min(700, args.words // 5)), seed)
            for pauses, ways in tallies.items():
                recordings = list(
                    make_recordings(utterances, words=args.words, seconds=60 * args.minutes, pauses=pauses, seed=seed)
                )
                compare(engine, recordings, args.longest, ways)
            gaps = ", ".join(f"{pauses} {ways['ours'].gaps(ways[WHOLE])[-1]:+.2f}" for pauses, ways in tallies.items())
            print(f"seed {seed}, ours to the whole file: {gaps}", flush=True)
        show(tallies)


@dataclass(slots=True)
class Tally:
    """What one way heard of one kind of pause, draw after draw."""

    near: Errors = field(default_factory=Counter)
    everywhere: Errors = field(default_factory=Counter)
    cuts: int = 0
    words: list[int] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)

    def rate(self) -> float:
        """Word error rate over all draws, in percent."""
        return 100 * sum(self.wrong) / sum(self.words)

    def gaps(self, other: Tally) -> list[float]:
        """Word error rate over that of `other`, in points, for each draw."""
        return [100 * (own - its) / words for own, its, words in zip(self.wrong, other.wrong, self.words, strict=True)]


def compare(engine: Engine, recordings: Sequence[Spoken], longest: float, ways: Mapping[str, Tally]) -> None:
    """One draw, heard in each of the `ways`."""
    seams = [[s.start + s.before for s in ours(spoken.samples, longest)[1:]] for spoken in recordings]
    for name, tally in ways.items():
        before = tally.everywhere.total()
        segments = [WAYS[name](spoken.samples, longest) for spoken in recordings]
        for spoken, own, at, heard in zip(recordings, segments, seams, hear(engine, segments), strict=True):
            tally.cuts += len(own) - 1
            for kind, time in errors(spoken, heard):
                tally.everywhere[kind] += 1
                tally.near[kind] += any(abs(time - seam) <= NEAR_SECONDS for seam in at)
        tally.words.append(sum(len(spoken.words) for spoken in recordings))
        tally.wrong.append(tally.everywhere.total() - before)


def show(tallies: Mapping[Pauses, Mapping[str, Tally]]) -> None:
    print(
        f"{'pauses':8}{'':12}{'WER %':>8}{'to whole':>10}{'error':>7}{'cuts':>7}"
        f"   {'near our seams':27}{'everywhere (sub, ins, del)'}"
    )
    for pauses, ways in tallies.items():
        for name, tally in ways.items():
            gaps = tally.gaps(ways[WHOLE])
            error = statistics.stdev(gaps) / math.sqrt(len(gaps)) if len(gaps) > 1 else math.nan
            print(
                f"{pauses:8}{name:12}{tally.rate():8.2f}{statistics.mean(gaps):+10.3f}{error:7.3f}{tally.cuts:7}"
                f"   {_shown(tally.near):27}{_shown(tally.everywhere)} of {sum(tally.words)}"
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
