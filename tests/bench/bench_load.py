"""Bringing a model of 0.6 billion parameters into memory: NeMo's restore_from and ours, in one run.

    python -m tests.bench.bench_load

Builds the model once (random weights, 2.5 GB, in .bench). Each loads it in a process of its own, imports not counted,
and encodes the same seconds of noise; prints seconds, memory, what lay in TMPDIR at most, and whether the encoder's
outputs are the same to the last bit. Then two of ours at once: what each has for itself.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.bench.large_model import build_model
from tests.bench.measure import measure
from tests.jobs import REPOSITORY

FOLDER = REPOSITORY / ".bench"
NOISE_SECONDS = 10
RATE = 16_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--contender", choices=("theirs", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--hold", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contender:
        contend(args.contender, args.model, args.hold)
        return
    FOLDER.mkdir(exist_ok=True)
    model = FOLDER / f"tdt-{args.width}x{args.layers}.nemo"
    if not model.exists():
        build_model("tdt", model.with_suffix(".unfinished"), width=args.width, layers=args.layers)
        model.with_suffix(".unfinished").rename(model)
    warm(model)
    theirs, ours = (run(contender, model) for contender in ("theirs", "ours"))
    print(f"{model.name}, {model.stat().st_size / 1e9:.2f} GB, {len(os.sched_getaffinity(0))} cores\n")
    print(f"{'':14}{'load s':>8}{'peak GB, loading':>18}{'and encoding':>14}{'TMPDIR GB':>11}")
    for name, one in (("restore_from", theirs), ("ours", ours)):
        memory = f"{one['loaded_gb']:18.2f}{one['encoded_gb']:14.2f}"
        print(f"{name:14}{one['seconds']:8.2f}{memory}{one['temporary_gb']:11.3f}")
    print(f"\nload      {ours['seconds'] / theirs['seconds']:.2f} of restore_from")
    print(f"memory    {ours['loaded_gb'] / theirs['loaded_gb']:.2f} loading, ", end="")
    print(f"{ours['encoded_gb'] / theirs['encoded_gb']:.2f} with a batch")
    print(f"output    {'the same to the last bit' if ours['digest'] == theirs['digest'] else 'DIFFERENT'}")
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder, ThreadPoolExecutor(2) as pool:
        pair = list(pool.map(lambda number: run("ours", model, Path(folder) / "both"), range(2)))
    told = " and ".join(f"{one['own_gb']:.2f} GB of its own, {one['shared_gb']:.2f} GB shared" for one in pair)
    print(f"two at once: {told}")


def warm(model: Path) -> None:
    """Both find the file in the page cache."""
    with model.open("rb") as file:
        while file.read(1 << 24):
            pass


def run(contender: str, model: Path, hold: Path | None = None) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.bench_load", "--contender", contender, "--model", str(model)]
    with tempfile.TemporaryDirectory(dir=FOLDER) as temporary:
        command += ["--hold", str(hold)] if hold else []
        ran = measure(command, {"PYTHONPATH": str(REPOSITORY), "TMPDIR": temporary})
    result: dict[str, Any] = json.loads(ran.output.strip().splitlines()[-1])
    return result


def contend(contender: str, model: Path, hold: Path | None) -> None:
    import torch

    load = {"theirs": load_theirs, "ours": load_ours}[contender](model)
    with Watched(Path(os.environ["TMPDIR"])) as temporary:
        start = time.monotonic()
        encode = load()
        seconds = time.monotonic() - start
    loaded = memory("VmHWM", "status")
    noise = torch.from_numpy(_noise())[None]
    with torch.inference_mode():
        digest = hashlib.sha256(encode(noise).numpy().tobytes()).hexdigest()
    if hold:  # until the other is as far
        hold.with_suffix(f".{os.getpid()}").touch()
        deadline = time.monotonic() + 300
        while len(list(hold.parent.glob("both.*"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
    found = {
        "seconds": seconds,
        "loaded_gb": loaded,
        "encoded_gb": memory("VmHWM", "status"),
        "own_gb": memory("Private_Dirty", "smaps_rollup") + memory("Private_Clean", "smaps_rollup"),
        "shared_gb": memory("Shared_Clean", "smaps_rollup"),
        "temporary_gb": temporary.most / 1e9,
        "digest": digest,
    }
    print(json.dumps(found))


Encode = Callable[[Any], Any]


def load_theirs(path: Path) -> Callable[[], Encode]:
    from nemo.collections.asr.models import ASRModel
    from nemo.utils import logging as nemo_logging

    nemo_logging.set_verbosity(nemo_logging.ERROR)

    def load() -> Encode:
        model = ASRModel.restore_from(str(path), map_location="cpu").eval()
        return lambda features: _encoded(model, features)

    return load


def load_ours(path: Path) -> Callable[[], Encode]:
    from transcription_worker.engines import nemo_load
    from transcription_worker.nemo_archive import check_archive, unpack

    def load() -> Encode:
        info = check_archive(path)
        with tempfile.TemporaryDirectory() as folder:
            weights = unpack(path, Path(folder))
            model = nemo_load.restore(Path(folder), weights, info.target, on_gpu=False)
        return lambda features: _encoded(model, features)

    return load


def _encoded(model: Any, noise: Any) -> Any:
    import torch

    model.preprocessor.featurizer.dither = 0.0
    features, lengths = model.preprocessor(input_signal=noise, length=torch.tensor([noise.shape[1]]))
    return model.encoder(audio_signal=features, length=lengths)[0]


def _noise() -> Any:
    import numpy as np

    return np.random.default_rng(0).standard_normal(NOISE_SECONDS * RATE).astype(np.float32) * 0.1


def memory(name: str, file: str) -> float:
    """Gigabytes of this process, as proc(5) counts them."""
    for line in Path(f"/proc/self/{file}").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e9
    raise LookupError(name)


class Watched:
    """The most bytes that lay below a directory, looked at 20 times a second."""

    def __init__(self, folder: Path) -> None:
        self.most = 0
        self._folder = folder
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            total = 0
            for file in self._folder.rglob("*"):
                with contextlib.suppress(FileNotFoundError):
                    total += file.stat().st_size
            self.most = max(self.most, total)


if __name__ == "__main__":
    main()
