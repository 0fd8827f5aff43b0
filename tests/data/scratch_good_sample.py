"""What scripts/verify_scratch.py must let pass. Never run."""

import contextlib
import datetime
import os
import webbrowser
from pathlib import Path

from transcription_worker.scratch import Scratch


def transcribe(path: Path) -> str:
    with path.open() as text, path.open("rb") as audio:
        return text.read() + str(len(audio.read()))


def by_context(scratch: Scratch) -> str:
    with scratch.file("wav") as path:
        return transcribe(path)


def by_stack(scratch: Scratch) -> list[str]:
    with contextlib.ExitStack() as stack:
        return [transcribe(stack.enter_context(scratch.file(extension))) for extension in ("wav", "flac")]


def by_hand(scratch: Scratch) -> str:
    path = scratch.new_path("wav")
    try:
        return transcribe(path)
    finally:
        scratch.remove(path)
        print("removed")


def reads(path: Path, moment: datetime.datetime) -> None:
    os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    webbrowser.open("a")
    print("a".replace("a", "b"), moment.replace(tzinfo=datetime.UTC), open(path).read())  # noqa: SIM115, PTH123
