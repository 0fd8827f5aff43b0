"""`python -m tests.bench.bench_model_path`: our way through a model against NeMo's `transcribe()`, on the same arrays.

The same model and the same segments of speech, on one thread each, one after the other in one process: audio seconds
per CPU second of both, and the word error rate between their texts. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from scripts.tiny_speech import SAMPLE_RATE, Samples
from tests.bench.bench_seams import GAP, ours
from tests.bench.long_speech import Pauses, make_recordings, make_utterances
from tests.jobs import TINY_CTC, TINY_TDT
from transcription_api.job import MAX_SEGMENT_SECONDS
from transcription_worker.engines.nemo import NemoEngine

BATCH_SECONDS = 960.0
"""What batches grow to in a worker."""
WORDS_PER_MINUTE = 140

TextsOf = Callable[[Sequence[Samples]], list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="minutes of speech (default 60)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each; the quickest counts (default 3)")
    parser.add_argument("--batch", type=int, default=16, help="batch size of transcribe() (default 16)")
    parser.add_argument("--model", choices=("ctc", "tdt", "both"), default="both")
    args = parser.parse_args()
    arrays = speech(args.minutes)
    audio = sum(map(len, arrays)) / SAMPLE_RATE
    print(f"{audio / 60:.0f} min of speech in {len(arrays)} segments, one thread, best of {args.repeat}")
    for model in {"ctc": [TINY_CTC], "tdt": [TINY_TDT], "both": [TINY_CTC, TINY_TDT]}[args.model]:
        compare(model, arrays, args.repeat, args.batch)


def speech(minutes: float) -> list[Samples]:
    """Segments as a worker cuts them, the longest first as in its batches; `transcribe()` sorts by itself."""
    words = round(minutes * WORDS_PER_MINUTE)
    utterances = make_utterances(max(20, min(200, words // 5)), 0)
    recordings = make_recordings(utterances, words=words, seconds=300.0, pauses=Pauses.SHORT, seed=0)
    arrays = [segment.samples for spoken in recordings for segment in ours(spoken.samples, MAX_SEGMENT_SECONDS)]
    return sorted(arrays, key=len, reverse=True)


def compare(model: Path, arrays: Sequence[Samples], repeat: int, batch: int) -> None:
    audio = sum(map(len, arrays)) / SAMPLE_RATE
    with tempfile.TemporaryDirectory() as folder:
        own = through_engine(model, Path(folder))
        spent, texts = quickest(own, arrays, repeat)
    print(f"\n{model.name}\n{'':44}{'audio s per CPU s':>18}{'ours over it':>14}{'WER to ours %':>15}")
    print(f"{'ours: words, times, confidence':44}{audio / spent:18.0f}", flush=True)
    for times in (True, False):
        other_spent, other = quickest(through_transcribe(model, batch, times), arrays, repeat)
        name = f"transcribe(batch_size={batch}, timestamps={times})"
        print(f"{name:44}{audio / other_spent:18.0f}{other_spent / spent:14.2f}{difference(texts, other):15.3f}")


def quickest(path: TextsOf, arrays: Sequence[Samples], repeat: int) -> tuple[float, list[str]]:
    """The least CPU seconds of `repeat` runs, and the texts."""
    least, texts = float("inf"), []
    for _ in range(repeat):
        before = time.process_time()
        texts = path(arrays)
        least = min(least, time.process_time() - before)
    return least, texts


def through_engine(model: Path, scratch: Path) -> TextsOf:
    engine = NemoEngine(model, scratch=scratch, threads=1)
    engine.load()

    def path(arrays: Sequence[Samples]) -> list[str]:
        texts: list[str] = []
        while len(texts) < len(arrays):
            size = max(1, int(BATCH_SECONDS * engine.sample_rate / len(arrays[len(texts)])))
            texts += [heard.text for heard in engine.transcribe(arrays[len(texts) : len(texts) + size])]
        return texts

    return path


def through_transcribe(model: Path, batch: int, times: bool) -> TextsOf:
    import torch
    from nemo.collections.asr.models import ASRModel
    from nemo.utils import logging as nemo_logging

    nemo_logging.set_verbosity(nemo_logging.ERROR)
    torch.set_num_threads(1)
    network = ASRModel.restore_from(str(model), map_location="cpu")
    network.eval()

    def path(arrays: Sequence[Samples]) -> list[str]:
        heard = network.transcribe(list(arrays), batch_size=batch, verbose=False, timestamps=times)
        return [hypothesis.text for hypothesis in heard]

    return path


def difference(texts: Sequence[str], other: Sequence[str]) -> float:
    """Word errors of `other` against `texts`, per cent."""
    import kaldialign  # type: ignore[import-untyped]

    errors, words = 0, 0
    for ours_said, theirs in zip(texts, other, strict=True):
        words += len(ours_said.split())
        errors += sum(a != b for a, b in kaldialign.align(ours_said.split(), theirs.split(), GAP))
    return 100 * errors / words


if __name__ == "__main__":
    main()
