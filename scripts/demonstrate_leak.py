"""Shows the leak that scratch was made for, beside scratch: same audio, same faults, real processes, real files.

Two engines in common forms (`NamedTemporaryFile(delete=False)` with the `unlink` on the way of success only; `mkdtemp`
removed after use) and one that uses `Scratch` write a WAV file per request and fail: while they write, while they
transcribe, or by SIGKILL in the middle. What is left on the disk is counted at once and after the next start.
Exit 1 if ours left anything. Needs no model and takes some seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import wave
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from transcription_worker.scratch import Scratch

SAMPLE_RATE = 16_000
SECONDS = 5
FAULTS = ("none", "while writing", "while transcribing", "kill -9 while writing", "kill -9 while transcribing")

Fault = str
Engine = Callable[[Path, Fault], None]


def write_wav(path: Path, fault: Fault) -> None:
    """Mono 16-bit PCM, a second at a time, as a decoder would deliver it; the fault comes half-way."""
    with wave.open(str(path), "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(SAMPLE_RATE)
        for second in range(SECONDS):
            if second == SECONDS // 2:
                fail(fault, "writing")
            audio.writeframes(os.urandom(2 * SAMPLE_RATE))


def transcribe(path: Path, fault: Fault) -> int:
    """What stands for the model reads every sample."""
    with wave.open(str(path)) as audio:
        samples: bytes = audio.readframes(audio.getnframes())
    fail(fault, "transcribing")
    return sum(samples) % 1000


def fail(fault: Fault, stage: str) -> None:
    if fault == f"while {stage}":
        raise RuntimeError(f"fault {fault}")
    if fault == f"kill -9 while {stage}":
        os.kill(os.getpid(), signal.SIGKILL)


def unlinks_on_success(root: Path, fault: Fault) -> None:
    with tempfile.NamedTemporaryFile(prefix="nemo_", suffix=".wav", dir=root, delete=False) as file:
        path = Path(file.name)
    write_wav(path, fault)
    transcribe(path, fault)
    path.unlink()


def removes_directory_after_use(root: Path, fault: Fault) -> None:
    directory = Path(tempfile.mkdtemp(prefix="nemo_", dir=root))
    write_wav(directory / "audio.wav", fault)
    transcribe(directory / "audio.wav", fault)
    shutil.rmtree(directory)


def uses_scratch(root: Path, fault: Fault) -> None:
    with Scratch(root) as scratch, scratch.file("wav") as path:
        write_wav(path, fault)
        transcribe(path, fault)


ENGINES: dict[str, Engine] = {
    "unlink on success": unlinks_on_success,
    "mkdtemp, rmtree": removes_directory_after_use,
    "Scratch": uses_scratch,
}


def serve(engine: Engine, root: Path, fault: Fault, rounds: int) -> NoReturn:
    """The child: a service that outlives the errors of its requests, as services do."""
    for _ in range(rounds):
        with contextlib.suppress(RuntimeError):
            engine(root, fault)
    sys.exit(0)


def left(root: Path) -> tuple[int, int]:
    """Files and bytes below the root; the marker of scratch is none of them."""
    files = [path for path in root.rglob("*") if path.is_file() and path.name != ".transcription-scratch"]
    return len(files), sum(path.stat().st_size for path in files)


def run(name: str, fault: Fault, rounds: int, root: Path) -> None:
    """Children one after the other: one for all rounds where it survives them, one a round where it is killed."""
    killed = fault.startswith("kill")
    command = [sys.executable, __file__, "--child", name, "--root", str(root), "--fault", fault]
    for _ in range(rounds if killed else 1):
        child = subprocess.run([*command, "--rounds", str(1 if killed else rounds)], check=False)
        if child.returncode != (-signal.SIGKILL if killed else 0):
            raise SystemExit(f"the child ended with {child.returncode}, which the fault '{fault}' does not explain")


def demonstrate(rounds: int) -> int:
    """Print the table; returns how many files ours left after the next start."""
    print(f"{rounds} requests of {SECONDS} s of audio each")
    print(f"{'fault':28}{'engine':20}{'left at once':>22}{'after the next start':>24}")
    ours = 0
    with tempfile.TemporaryDirectory(prefix="demonstrate-leak-") as place:
        for fault in FAULTS:
            for name in ENGINES:
                root = Path(place) / f"{fault} {name}"
                root.mkdir()
                run(name, fault, rounds, root)
                at_once = left(root)
                run(name, "none", 1, root)
                after = left(root)
                ours += after[0] if name == "Scratch" else 0
                print(f"{fault:28}{name:20}{describe(at_once):>22}{describe(after):>24}")
    print("Scratch left nothing behind." if not ours else f"Scratch left {ours} files behind.")
    return ours


def describe(files_and_bytes: tuple[int, int]) -> str:
    files, size = files_and_bytes
    return f"{files} files, {size / 1e6:.1f} MB" if files else "-"


def main() -> int:
    parser = argparse.ArgumentParser(description="Show what leaky engines leave on the disk, beside Scratch.")
    parser.add_argument("--rounds", type=int, default=10, help="requests per engine and fault (default: 10)")
    parser.add_argument("--child", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--fault", choices=FAULTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        serve(ENGINES[arguments.child], arguments.root, arguments.fault, arguments.rounds)
    return 1 if demonstrate(arguments.rounds) else 0


if __name__ == "__main__":
    sys.exit(main())
