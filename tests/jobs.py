"""Whole jobs for tests: a manifest, the command line as a user calls it, and what it left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
EXAMPLES = REPOSITORY / "examples"
TINY_CTC = EXAMPLES / "models" / "tiny-ctc.nemo"
TINY_TDT = EXAMPLES / "models" / "tiny-tdt.nemo"


@dataclass(frozen=True)
class Job:
    """One manifest with its own scratch and cache below `folder`."""

    folder: Path
    spec: dict[str, Any]
    environment: Mapping[str, str]
    name: str = "job"

    @classmethod
    def of(
        cls,
        folder: Path,
        *,
        source: str | Path,
        output: str | Path,
        environment: Mapping[str, str] | None = None,
        **spec: Any,
    ) -> Job:
        base: dict[str, Any] = {
            "input": {"uri": str(source)},
            "output": {"uri": str(output), "formats": ["json", "txt"]},
            "model": {"uri": str(TINY_CTC)},
            "workers": {"gpus": 0, "scratch": {"minFree": "1Mi"}},
        }
        return cls(folder, {**base, **spec}, environment or {})

    @property
    def scratch(self) -> Path:
        return self.folder / "scratch"

    @property
    def manifest(self) -> dict[str, Any]:
        return {
            "apiVersion": "transcription-operator.io/v1alpha1",
            "kind": "TranscriptionJob",
            "metadata": {"name": self.name},
            "spec": self.spec,
        }

    def write(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "job.yaml"
        path.write_text(json.dumps(self.manifest))
        return path

    def command(self, *arguments: str) -> list[str]:
        cli = [sys.executable, "-c", "from transcription_worker.cli import main; raise SystemExit(main())"]
        places = ["--scratch", str(self.scratch), "--cache", str(self.folder / "cache")]
        return [*cli, "run", "-f", str(self.write()), *places, *arguments]

    @property
    def full_environment(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "TRANSCRIPTION_"))}
        return {**clean, **self.environment}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments),
            env=self.full_environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), env=self.full_environment, capture_output=True, text=True, check=False
        )

    def entry_point(self, name: str, *arguments: str, uid: str = "0123456789") -> subprocess.CompletedProcess[str]:
        """Call one entry point as a container does, with the manifest in the environment."""
        manifest = {**self.manifest, "metadata": {"name": self.name, "uid": uid}}
        return subprocess.run(
            [sys.executable, "-m", "transcription_worker", name, "--local", *arguments],
            env={
                **self.full_environment,
                "TRANSCRIPTION_JOB": json.dumps(manifest),
                "TRANSCRIPTION_SCRATCH": str(self.scratch),
                "TRANSCRIPTION_CACHE": str(self.folder / "cache"),
            },
            capture_output=True,
            text=True,
            check=False,
        )

    def scratch_files(self) -> list[Path]:
        """What is left in scratch; the marker that says what the folder is stays."""
        if not self.scratch.exists():
            return []
        return [p for p in self.scratch.rglob("*") if p.name != ".transcription-scratch"]


def without_toolkit(folder: Path) -> dict[str, str]:
    """An environment in which a process ends with code 99 the moment it imports torch or NeMo."""
    folder.mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(
        "import os, sys\n"
        "def refuse(event, details):\n"
        "    if event == 'import' and details[0] in ('torch', 'nemo'):\n"
        "        os.write(2, f'{details[0]} was imported'.encode())\n"
        "        os._exit(99)\n"
        "sys.addaudithook(refuse)\n"
    )
    return {"PYTHONPATH": str(folder)}


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Poll a condition; AssertionError when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def texts(folder: Path) -> dict[str, str]:
    """Recording -> text of every committed transcript below a local output."""
    found = {}
    for path in folder.rglob("*.json"):
        if "_transcription" not in path.parts:
            found[str(path.relative_to(folder)).removesuffix(".json")] = json.loads(path.read_text())["text"]
    return found


def ledger(folder: Path) -> list[dict[str, Any]]:
    """Every line of every ledger below a local output."""
    return [
        json.loads(line)
        for path in sorted(folder.glob("_transcription/*/ledger/*.jsonl"))
        for line in path.read_text().splitlines()
    ]


def descendants(pid: int) -> list[int]:
    """Processes below `pid`, as the kernel lists them now."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in map(int, task.read_text().split()):
                found += [child, *descendants(child)]
        except OSError:
            continue
    return found


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def worker_pids(run_pid: int) -> list[int]:
    """The `work` processes of a `transcription run`."""
    return [pid for pid in descendants(run_pid) if "transcription_worker work " in command_line(pid)]
