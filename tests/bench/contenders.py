"""What is compared: the model alone, decoding alone, and the way people do it without an operator.

Each is run as `python -m tests.bench.contenders NAME ...` in a process of its own and prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from transcription_api.job import MAX_SEGMENT_SECONDS

BATCH_SECONDS = 960.0
"""What batches grow to in a worker."""


def _pieces(corpus: Path) -> Iterator[list[object]]:
    from transcription_worker.decode import Decoder, DecodeRequest
    from transcription_worker.segment import Segmenter

    with Decoder() as decoder:
        for path in sorted(p for p in corpus.iterdir() if not p.name.startswith(".")):
            segmenter, pieces = Segmenter(None, 16_000, MAX_SEGMENT_SECONDS), []
            for block in decoder.decode(DecodeRequest(path, "mix", 16_000, 1e6)):
                pieces += segmenter.push(block[0])
            yield [*pieces, *segmenter.finish()]


def decode_only(corpus: Path, **_: object) -> dict[str, float]:
    """Our decoder and segmenter over every recording; nothing is kept."""
    start = time.monotonic()
    for _pieces_of_one in _pieces(corpus):
        pass
    return {"seconds": time.monotonic() - start}


def model_only(corpus: Path, model: str, scratch: Path, **_: object) -> dict[str, float]:
    """(a) Arrays in memory, sorted by length, batch after batch; decoding and loading are not counted."""
    from transcription_worker.engines.nemo import NemoEngine

    arrays = [piece.samples for pieces in _pieces(corpus) for piece in pieces]  # type: ignore[attr-defined]
    arrays.sort(key=len, reverse=True)
    engine = NemoEngine(Path(model), scratch=scratch)
    engine.load()
    cpu, start = time.process_time(), time.monotonic()
    batches = []
    while arrays:
        size = max(1, int(BATCH_SECONDS * engine.sample_rate / len(arrays[0])))
        batches.append(arrays[:size])
        del arrays[:size]
    with ThreadPoolExecutor(engine.callers) as callers:
        list(callers.map(engine.transcribe, batches))
    return {"seconds": time.monotonic() - start, "cpu_seconds": time.process_time() - cpu}


def start_up(model: str, scratch: Path, **_: object) -> dict[str, float]:
    """What every worker process pays once: the imports, and the model into memory."""
    from transcription_worker.engines.nemo import NemoEngine

    NemoEngine(Path(model), scratch=scratch).load()
    return {"cpu_seconds": time.process_time()}


def by_hand(corpus: Path, model: str, scratch: Path, bucket: str, **_: object) -> dict[str, float]:
    """(c) Download everything, convert what NeMo cannot read, `transcribe()` on paths, upload the texts."""
    import boto3
    from nemo.collections.asr.models import ASRModel
    from nemo.utils import logging as nemo_logging

    nemo_logging.set_verbosity(nemo_logging.ERROR)
    client = boto3.client("s3")
    keys = [o["Key"] for o in client.list_objects_v2(Bucket=bucket, Prefix="in/")["Contents"]]
    start = time.monotonic()
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda key: client.download_file(bucket, key, str(scratch / Path(key).name)), keys))
    downloaded = time.monotonic()
    paths = []
    for key in keys:
        path = scratch / Path(key).name
        if path.suffix == ".m4a":
            wav = path.with_suffix(".m4a.wav")
            subprocess.run(
                ["ffmpeg", "-v", "error", "-y", "-i", str(path), "-ar", "16000", "-ac", "1", str(wav)], check=True
            )
            path = wav
        paths.append(str(path))
    network = ASRModel.restore_from(model, map_location="cpu")
    network.eval()
    batch_size = 4
    if hasattr(network.encoder, "change_attention_model"):
        # Full attention over half an hour asks for 10 GB a row; this is what NeMo's documentation does about it.
        network.change_attention_model("rel_pos_local_attn", [128, 128])
        batch_size = 1
    ready = time.monotonic()
    hypotheses = network.transcribe(paths, batch_size=batch_size, verbose=False, timestamps=True)
    heard = time.monotonic()
    for key, hypothesis in zip(keys, hypotheses, strict=True):
        client.put_object(Bucket=bucket, Key=f"by-hand/{key}.txt", Body=hypothesis.text.encode())
    return {
        "seconds": time.monotonic() - start,
        "download": downloaded - start,
        "convert_and_load": ready - downloaded,
        "transcribe": heard - ready,
    }


CONTENDERS: dict[str, Callable[..., dict[str, float]]] = {
    "decode-only": decode_only,
    "model-only": model_only,
    "start-up": start_up,
    "by-hand": by_hand,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--model", default="")
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--bucket", default="")
    args = vars(parser.parse_args())
    args["scratch"].mkdir(parents=True, exist_ok=True)
    print(json.dumps(CONTENDERS[args.pop("name")](**args)))


if __name__ == "__main__":
    main()
