"""The operator never imports the worker: what both must agree on is compared here."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.operator.builders.test_builders_golden import BUILDERS, CASES, DEFAULTS, GOLDEN
from transcription_api.load import load_manifest
from transcription_operator import constants
from transcription_operator.decide.child_outcome import LOG_LINE
from transcription_worker import cli, job_context, log_lines, places
from transcription_worker.errors import ExitCode


def test_variables_are_those_that_the_worker_reads() -> None:
    assert constants.JOB_VARIABLE == places.JOB_VARIABLE
    assert constants.SCRATCH_VARIABLE == places.SCRATCH_VARIABLE
    assert constants.CACHE_VARIABLE == places.CACHE_VARIABLE
    assert constants.LISTEN_VARIABLE == places.LISTEN_VARIABLE
    assert constants.MODEL_DIRECTORY_VARIABLE == job_context.MODEL_DIRECTORY_VARIABLE
    assert constants.POD_NAME_VARIABLE == places.POD_NAME_VARIABLE
    assert constants.MODEL_PATH == job_context.MODEL_DIRECTORY


def test_exit_codes_are_the_workers() -> None:
    for code in constants.ExitCode:
        assert ExitCode[code.name].value == code.value


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING, logging.ERROR])
def test_lines_of_the_workers_log_are_told_from_last_words(level: int) -> None:
    record = logging.LogRecord("transcription_worker.progress", level, "progress.py", 1, "done", None, None)
    assert LOG_LINE.match(logging.Formatter(log_lines.LOG_FORMAT).format(record))
    assert not LOG_LINE.match("The bucket calls does not exist: correct spec.input.uri.")


def test_cache_of_a_pod_does_not_lie_in_what_is_swept() -> None:
    places.refuse_overlap(Path(constants.SCRATCH_PATH), {"the cache": Path(constants.CACHE_PATH)})


@pytest.mark.parametrize("case", CASES)
def test_every_command_of_a_pod_is_one_of_the_workers(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[argparse.Namespace] = []

    def parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> int:
        parsed.append(parser.parse_args(argv))
        return 0

    monkeypatch.setattr(cli, "_call", parse)
    job = load_manifest(GOLDEN / case / "job.yaml", local=False)
    commands = []
    for build in BUILDERS.values():
        pod = build(job, DEFAULTS)["spec"]["template"]["spec"]
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            commands.append(container["command"])
            if hook := container.get("lifecycle"):
                commands.append(hook["preStop"]["exec"]["command"])
    for program, *arguments in commands:
        assert program == constants.WORKER_COMMAND
        cli.worker_main(arguments)
    assert len(parsed) == len(commands) == 5
