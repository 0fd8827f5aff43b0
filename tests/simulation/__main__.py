"""`python -m tests.simulation`: what a fleet costs beyond the work itself: quiet, under deaths, and at its start.

Ends with 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections import Counter
from dataclasses import dataclass, replace

from tests.simulation.fleet import Fleet, Result, Scenario

QUIET = Scenario()
DEATHS = Scenario(deaths=60, lost=4, freezes=8, late=4)
START = Scenario(workers=1000)
START_SECONDS = 10.0
MOST_BESIDE = 20_000


@dataclass(frozen=True)
class Targets:
    ratio: float
    doubled: float


TARGETS = {"quiet": Targets(1.02, 0.01), "deaths": Targets(1.05, 0.02)}
"""At 32 workers and 100,000 recordings."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", nargs="*", default=["quiet", "deaths", "start"], help="quiet, deaths, start")
    parser.add_argument("--recordings", type=int, default=QUIET.recordings)
    parser.add_argument("--seed", type=int, default=QUIET.seed)
    parser.add_argument("--speed", type=float, default=QUIET.speed, help="of the slowest worker")
    parser.add_argument("--misjudged", type=float, default=QUIET.misjudged, help="wrong estimates: by how many times")
    arguments = parser.parse_args()
    logging.getLogger("transcription_worker").setLevel(logging.ERROR)  # deaths are told by the thousand
    missed = 0
    for name in arguments.scenario:
        scenario = {"quiet": QUIET, "deaths": DEATHS, "start": START}[name]
        options = {name: getattr(arguments, name) for name in ("recordings", "seed", "speed", "misjudged")}
        scenario = replace(scenario, **options)
        print(f"{name}: {scenario}", flush=True)
        if name == "start":
            show_start(scenario)
        else:
            missed += not show(scenario, TARGETS[name])
    return 1 if missed else 0


def show(scenario: Scenario, targets: Targets) -> bool:
    """Print the figures of a whole job; False where a target is missed."""
    began = time.monotonic()
    result = Fleet(scenario).play()
    met = result.ratio <= targets.ratio and result.doubled <= targets.doubled and result.beside <= MOST_BESIDE
    states = Counter(str(outcome.reason or outcome.state) for outcome in result.outcomes)
    lines = [
        f"{len(result.outcomes)} outcomes of {result.recordings} recordings ({dict(states)}), {result.shards} shards, "
        f"{result.lives} lives of workers, {result.audio_seconds / 3600:.0f} h of audio",
        f"makespan {result.makespan:.0f} s = {result.ratio:.4f} of the bound (target {targets.ratio}); the last worker "
        f"ended at {result.last_exit / result.bound:.4f}",
        f"the last worker took {result.last_exit:.0f} s; docs/sizing.md says {result.expected:.0f} s and up to "
        f"{result.tail:.0f} s of tail",
        f"done twice: {100 * result.doubled:.2f} % of the audio (target {100 * targets.doubled:.0f} %)",
        f"requests beside the recordings' own: {result.beside} (target {MOST_BESIDE}): {claims(result)}",
        f"requests of the recordings' own: {result.own / result.recordings:.3f} each (3 where nothing happens)",
        f"simulated in {time.monotonic() - began:.0f} s",
    ]
    print("\n".join(f"  {line}" for line in lines), flush=True)
    return met and states == {"done": result.recordings}


def show_start(scenario: Scenario) -> None:
    """Print what a fleet that starts at one moment asks of the store until each has something to do, and a while on."""
    result = Fleet(scenario).play(START_SECONDS)
    print(f"  {scenario.workers} workers, {result.shards} shards, after {START_SECONDS:.0f} s: {claims(result)}")
    print(f"  {result.beside / scenario.workers:.1f} requests per worker beside the recordings' own")


def claims(result: Result) -> str:
    asked = {name: count for name, count in sorted(result.meter.requests.items()) if " " in name}
    return f"{asked}; {result.meter.lost['claims']} claims found their shard taken"


if __name__ == "__main__":
    raise SystemExit(main())
