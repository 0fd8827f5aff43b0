"""A disk that misbehaves: `python -m tests.chaos.disk --seed N`. Needs root on Linux; says why where it cannot run.

Each scene is a whole job on a small real file system that is filled, frozen, made read-only or shared. Prints figures
and what broke a promise; writes the figures as JSON where asked. Exit 1 where anything did.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.disk_job import Site
from tests.chaos.disk_scenes import SCENES, Scene
from tests.chaos.disk_volumes import MARK, in_own_namespace, reason_without
from tests.chaos.lives import zygote
from tests.s3server import run_server


@dataclass
class Figures:
    """What a run has to tell. The counts of losses and left-overs are to be zero."""

    seed: int
    scenes: dict[str, float] = field(default_factory=dict)
    """Seconds of each."""
    not_possible: dict[str, str] = field(default_factory=dict)
    recordings: int = 0
    recordings_lost: int = 0
    transcripts_wrong: int = 0
    bytes_left: int = 0
    partials_left: int = 0
    restarts: int = 0
    exits: Counter[int] = field(default_factory=Counter)
    longest_scene_seconds: float = 0.0
    seconds: float = 0.0
    broken_promises: list[str] = field(default_factory=list)

    def play(self, scene: Scene, site: Site) -> None:
        played = scene.play(site)
        found = played.verdict
        self.scenes[scene.name] = round(played.seconds, 1)
        self.recordings += found.planned
        self.recordings_lost += found.lost
        self.transcripts_wrong += found.wrong
        self.bytes_left += found.bytes_left
        self.partials_left += found.partials_left
        self.exits.update(ending.status for ending in played.endings)
        self.restarts += sum(1 for ending in played.endings if ending.status)
        self.longest_scene_seconds = max(self.longest_scene_seconds, round(played.seconds, 1))
        self.broken_promises += [f"{scene.name}: {fault}" for fault in played.faults]
        sentences = {ending.words.strip() for ending in played.endings if ending.status > 0}
        _say(f"{scene.name}: {played.seconds:.0f} s, {len(played.faults)} broken promises")
        for sentence in sorted(sentences):
            _say(f"    {sentence}")
        for fault in played.faults:
            _say(f"    broken: {fault}")


def run(seed: int, recordings: int, only: list[str]) -> Figures:
    """Every scene, or those whose name is asked for, as far as this machine can have them."""
    figures, started = Figures(seed), time.monotonic()
    wanted = [scene for scene in SCENES if not only or scene.name in only]
    for scene in wanted:
        if why := reason_without(scene.needs):
            figures.not_possible[scene.name] = why
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-disk-")))
        server = stack.enter_context(run_server(folder / "s3"))
        forks = stack.enter_context(zygote(folder / "zygote"))
        site = Site(server, forks, folder / "jobs", recordings, seed)
        for scene in wanted:
            if scene.name not in figures.not_possible:
                figures.play(scene, site)
    figures.seconds = round(time.monotonic() - started, 1)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the corpus")
    parser.add_argument("--recordings", type=int, default=30, help="of each job")
    parser.add_argument("--only", action="append", default=[], metavar="SCENE", help="this scene; may be repeated")
    parser.add_argument("--json", type=Path, help="where the figures go")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that all that was started ends
    if why := reason_without("root"):
        _say(f"Not run: {why}.")
        return 0
    if MARK not in os.environ:
        return subprocess.run(in_own_namespace(["tests.chaos.disk", *sys.argv[1:]]), check=False).returncode
    figures = run(asked.seed, asked.recordings, asked.only)
    text = json.dumps(vars(figures), indent=2, ensure_ascii=False)
    if asked.json:
        asked.json.write_text(f"{text}\n")
    _say(text)
    return 1 if figures.broken_promises else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
