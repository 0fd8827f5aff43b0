"""Fuzzing of whatever meets files: `python -m tests.chaos.fuzz --inputs 10000 --seed 1`.

Every input is decoded in a warm child process; a share goes the whole way from S3 to the committed transcript with a
real model. Prints figures; exit code 1 where something happened that must not. A guilty input is kept as a file:
`python -m tests.chaos.fuzz --replay FILE...` decodes it again.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.chaos.fuzz_cases import Case, cases
from tests.chaos.fuzz_decode import CHILD_ONLY, Verdict, decode_all
from tests.chaos.fuzz_seeds import NoFfmpegError, make_seeds
from tests.chaos.fuzz_work import WorkFigures, work_through
from transcription_worker.scratch import Scratch


@dataclass
class Figures:
    """What a run prints and writes as JSON. Bytes, and seconds of wall time where nothing else is said."""

    seed: int
    inputs: int = 0
    input_bytes: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    crashes_survived: int = 0
    longest_seconds: float = 0.0
    longest_input: str = ""
    decoded_seconds: float = 0.0
    peak_child_bytes: int = 0
    left_in_scratch: int = 0
    faults: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    wall_seconds: float = 0.0
    peak_own_bytes: int = 0
    work: WorkFigures | None = None

    @property
    def guilty(self) -> list[str]:
        return [*self.faults, *(self.work.faults if self.work else [])]

    def add(self, case: Case, verdict: Verdict) -> None:
        self.inputs += 1
        self.input_bytes += len(case.body)
        self.outcomes[verdict.outcome] = self.outcomes.get(verdict.outcome, 0) + 1
        self.crashes_survived += verdict.outcome in CHILD_ONLY
        self.decoded_seconds += verdict.seconds
        self.peak_child_bytes = max(self.peak_child_bytes, verdict.child_bytes)
        if verdict.wall > self.longest_seconds:
            self.longest_seconds, self.longest_input = verdict.wall, f"{case.name} ({case.origin})"
        self.faults += [f"{case.name} ({case.origin}): {fault}" for fault in verdict.faults]


def fuzz(inputs: int, seed: int, through_work: int, keep: Path, *, threads: int = 2, bombs: bool = True) -> Figures:
    """One run. Raises NoFfmpegError."""
    figures, started = Figures(seed), time.monotonic()
    chosen: list[tuple[Case, Verdict]] = []
    every = max(1, inputs // through_work) if through_work else 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        seeds = make_seeds(folder)
        with Scratch(folder / "scratch", min_free_bytes=0) as scratch:
            for case, verdict in decode_all(cases(inputs, seed, seeds, bombs=bombs), scratch, threads):
                figures.add(case, verdict)
                if verdict.faults or verdict.outcome in CHILD_ONLY:
                    figures.kept.append(str(_keep(keep, seed, case, verdict)))
                if every and (case.number % every == 0 or case.origin.startswith("bomb")):
                    chosen.append((case, verdict))
            figures.left_in_scratch = sum(1 for _ in scratch.path.iterdir())
        if chosen:
            figures.work = work_through(sorted(chosen, key=lambda pair: pair[0].number), folder / "work", keep)
    if figures.left_in_scratch:
        figures.faults.append(f"{figures.left_in_scratch} files are left in scratch")
    figures.wall_seconds = round(time.monotonic() - started, 1)
    figures.peak_own_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return figures


def replay(files: list[Path]) -> list[Verdict]:
    """Decode kept files again."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name, Scratch(Path(name) / "s", min_free_bytes=0) as scratch:
        again = (Case(n, str(file), file.suffix[1:], file.read_bytes()) for n, file in enumerate(files))
        return [verdict for _, verdict in decode_all(again, scratch, threads=1)]


def _keep(keep: Path, seed: int, case: Case, verdict: Verdict) -> Path:
    keep.mkdir(parents=True, exist_ok=True)
    path = keep / f"seed{seed}-{case.name}"
    path.write_bytes(case.body)
    path.with_name(f"{path.name}.json").write_text(json.dumps(asdict(verdict), indent=2) + "\n")
    return path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.fuzz", description="Feed damaged files to the worker.")
    parser.add_argument("--inputs", type=int, default=10_000, help="how many files (default 10000)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same files (default 1)")
    parser.add_argument("--through-work", type=int, help="how many of them go through a whole job (default 5 %%)")
    parser.add_argument("--report", type=Path, help="write the figures there as JSON")
    parser.add_argument("--keep", type=Path, default=Path(".fuzz"), help="where guilty inputs are kept (.fuzz)")
    parser.add_argument("--replay", type=Path, nargs="+", help="decode kept inputs again instead")
    options = parser.parse_args()
    if options.replay:
        verdicts = replay(options.replay)
        print("\n".join(f"{v.origin}: {v.outcome} {v.message} {'; '.join(v.faults)}" for v in verdicts))
        return int(any(v.faults for v in verdicts))
    through_work = options.inputs // 20 if options.through_work is None else options.through_work
    try:
        figures = fuzz(options.inputs, options.seed, through_work, options.keep)
    except NoFfmpegError as error:
        print(error, file=sys.stderr)
        return 2
    text = json.dumps(asdict(figures), indent=2)
    print(text)
    if options.report:
        options.report.write_text(text + "\n")
    return int(bool(figures.guilty))


if __name__ == "__main__":
    sys.exit(main())
