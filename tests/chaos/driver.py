"""What the drivers on the command line have in common: where a run lies, how it ends, and what it prints."""

from __future__ import annotations

import argparse
import json
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


def parser_for(name: str, doc: str) -> argparse.ArgumentParser:
    """With the options of every driver."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.chaos.{name}", description=doc.splitlines()[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--report", type=Path, metavar="FILE", help="where the figures go")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="a new folder for everything; it stays")
    return parser


@contextmanager
def folder_of(args: argparse.Namespace) -> Iterator[Path]:
    """The folder of a run, and its seed said; SIGTERM ends it as Ctrl-C does: it leaves no server and no zygote."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    say(f"seed {args.seed}")
    with TemporaryDirectory(prefix="chaos-") as temporary:
        folder: Path = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def say(text: str) -> None:
    print(text, flush=True)


def conclude(figures: Any, args: argparse.Namespace) -> int:
    """Print and write the figures; the exit status."""
    text = json.dumps(asdict(figures), indent=2)
    print(text)
    if args.report:
        args.report.write_text(text + "\n")
    return 1 if figures.faults else 0
