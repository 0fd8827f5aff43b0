"""`make bench-curator`: NVIDIA's own batch pipeline, NeMo Curator, on the same model and files, beside ours in one run.

Curator gets what suits it: files on the local disk, wav of 16 kHz, 5 to 30 seconds each. Its environment (9 GB) is made
once below .bench/. Prints audio seconds per second of the whole run and of the part with the model, how many texts
differ, and how many words of each are wrong. Nothing passes or fails by time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

from tests.bench.corpus import Voices, encode
from tests.bench.measure import Measured, measure
from tests.jobs import REPOSITORY, TINY_CTC, TINY_TDT, Job
from tests.speech import RATE

FOLDER = REPOSITORY / ".bench" / "beside-curator"
ENVIRONMENT = REPOSITORY / ".bench" / "curator"
CURATOR = Path(__file__).parent / "curator"
SHORTEST, LONGEST = 5.0, 30.0
MARK = "TRANSCRIPTION_BENCH"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=4.0, help="hours of audio (default 4)")
    parser.add_argument("--model", choices=("ctc", "tdt"), default="ctc")
    args = parser.parse_args()
    make_environment()
    model = TINY_CTC if args.model == "ctc" else TINY_TDT
    shutil.rmtree(FOLDER, ignore_errors=True)
    try:
        audio, said = make_files(FOLDER / "in", args.hours)
        cores = len(os.sched_getaffinity(0))
        print(f"{platform.machine()}, {cores} cores, Python {platform.python_version()}; model {model.name}")
        print(
            f"{len(said)} wav of {SHORTEST:g} to {LONGEST:g} s, {audio / 3600:.2f} h, on the local disk\n", flush=True
        )
        ours, our_part, our_texts = run_ours(model)
        theirs, their_part, their_texts = run_curator(model)
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
    print(f"{'':10}{'whole, audio s/s':>18}{'model part':>12}{'wall s':>9}{'CPU s':>9}{'others':>9}{'peak GB':>9}")
    for name, run, part in (("ours", ours, our_part), ("Curator", theirs, their_part)):
        speed = f"{audio / run.wall_seconds:18.0f}{audio / part:12.0f}{run.wall_seconds:9.1f}"
        print(f"{name:10}{speed}{run.cpu_seconds:9.1f}{run.other_cpu_seconds:9.1f}{run.peak_gb:9.2f}")
    print(f"\nwhole run {theirs.wall_seconds / ours.wall_seconds:.2f}, part with the model {their_part / our_part:.2f}")
    print(f"{sum(our_texts[name] != their_texts.get(name) for name in said)} of {len(said)} texts differ")
    for name, texts in (("ours", our_texts), ("Curator", their_texts)):
        print(f"{name}: {wrong(texts, said):.2%} of the words wrong")


def wrong(texts: Mapping[str, str], said: Mapping[str, str]) -> float:
    """Word error rate."""
    from nemo.collections.asr.metrics.wer import word_error_rate

    return float(word_error_rate([texts.get(name, "") for name in said], list(said.values())))


def make_environment() -> None:
    python = ENVIRONMENT / "bin" / "python"
    if (ENVIRONMENT / ".made").exists():
        return
    subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
    uv = Path(sys.executable).with_name("uv")
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--python", python, "-r", CURATOR / "requirements.txt"], check=True
    )
    # As ours is: compiled once. What a package ships that is no Python does not matter.
    subprocess.run([python, "-m", "compileall", "-qq", "-j", "0", ENVIRONMENT / "lib"], check=False)
    (ENVIRONMENT / ".made").touch()


def make_files(folder: Path, hours: float) -> tuple[float, dict[str, str]]:
    """Returns the seconds of audio, and by name what was said."""
    folder.mkdir(parents=True)
    rng, voices = random.Random(0), Voices()
    total, said = 0.0, dict[str, str]()
    while total < hours * 3600:
        samples, text = voices.speak(rng.uniform(SHORTEST, LONGEST), rng)
        name = f"r{len(said):05d}.wav"
        encode(samples, folder / name)
        total += len(samples) / RATE
        said[name] = text
    return total, said


def run_ours(model: Path) -> tuple[Measured, float, dict[str, str]]:
    """What it took, the seconds from the model being ready to the worker's end, and the texts by name."""
    folder = FOLDER / "ours"
    job = Job.of(folder, source=FOLDER / "in", output=folder / "out", model={"uri": str(model)})
    run = measure(job.command(), {})
    (sheet,) = (folder / "out").rglob("workers/*.json")
    seconds = json.loads(sheet.read_text())["seconds"]
    texts = {p.name.removesuffix(".txt"): " ".join(p.read_text().split()) for p in (folder / "out").rglob("r*.wav.txt")}
    return run, sum(seconds.values()) - seconds["start"], texts


def run_curator(model: Path) -> tuple[Measured, float, dict[str, str]]:
    """What it took, the seconds from its first batch's begin to its last one's end, and the texts by name."""
    folder = FOLDER / "theirs"
    (folder / "times").mkdir(parents=True)
    manifest = folder / "in.jsonl"
    manifest.write_text("".join(json.dumps({"audio_filepath": str(p)}) + "\n" for p in (FOLDER / "in").iterdir()))
    command = [str(ENVIRONMENT / "bin" / "python"), str(CURATOR / "pipeline.py"), "--manifest", str(manifest)]
    command += ["--output", str(folder / "out.jsonl"), "--model", str(model), "--times", str(folder / "times")]
    mark = uuid.uuid4().hex
    temporary = Path(f"/tmp/ray-{mark[:8]}")  # short: Ray's sockets lie there
    environment = {
        "PATH": f"{ENVIRONMENT / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(CURATOR),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TMPDIR": str(folder),
        MARK: mark,
    }
    try:
        run = measure([*command, "--temporary", str(temporary)], environment)
    finally:
        end_marked(mark)
        shutil.rmtree(temporary, ignore_errors=True)
    batches = [json.loads(line) for file in (folder / "times").iterdir() for line in file.read_text().splitlines()]
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    texts = {Path(row["audio_filepath"]).name: " ".join(row["pred_text"].split()) for row in rows}
    return run, max(end for _, end in batches) - min(begin for begin, _ in batches), texts


def end_marked(mark: str) -> None:
    """Some of Ray's processes outlive a stop: kill what carries the mark in its environment."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (process / "environ").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            continue


if __name__ == "__main__":
    main()
