"""Command lines: `transcription` for people, `transcription-worker` for containers. Parses, calls, maps to exit codes.

What the commands do is `entry_points.py`.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from transcription_worker import __version__, entry_points
from transcription_worker.engines.toolkit import importing
from transcription_worker.errors import ExitCode, TranscriptionError, exit_code, printable
from transcription_worker.log_lines import log_to_stderr
from transcription_worker.places import JOB_VARIABLE, LISTEN_VARIABLE, default_cache, default_scratch
from transcription_worker.termination import leave_sentence

if TYPE_CHECKING:
    from transcription_worker.status_server import Address

Command = Callable[[argparse.Namespace], int]

OWN_LOG = "transcription_worker"
FIRST_PROCESS = 1
"""What an entry point is in its container."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        leave_sentence(f"{self.prog}: {message}")
        super().error(message)


def main(argv: Sequence[str] | None = None) -> int:
    """`transcription`: validate a manifest, or run a job on this machine."""
    parser = _Parser(prog="transcription", description="Batch transcription of recordings with NVIDIA NeMo.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    validate = _command(commands, "validate", entry_points.validate, "print every fault of a manifest and its mend")
    validate.add_argument(
        "-f", "--filename", required=True, metavar="FILE", help="the manifest; - reads standard input"
    )
    validate.add_argument("--local", action="store_true", help="allow file paths, as `transcription run` does")

    run = _command(commands, "run", entry_points.run, "run a whole job on this machine, without a cluster")
    run.add_argument("-f", "--filename", required=True, metavar="FILE", help="the manifest; - is standard input")
    run.add_argument("--workers", type=_positive, default=1, metavar="N", help="worker processes (default 1)")
    _add_places(run)
    _add_verbose(run)
    return _call(parser, argv)


def worker_main(argv: Sequence[str] | None = None) -> int:
    """`transcription-worker`: the entry points of the pods. The manifest comes as a file or in TRANSCRIPTION_JOB."""
    parser = _Parser(prog="transcription-worker", description="What runs in the pods of a job.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    plan = _command(commands, "plan", entry_points.plan, "list the input and write the plan")
    work = _command(commands, "work", entry_points.work, "work shards until all have their ledger")
    report = _command(commands, "report", entry_points.report, "write the report from the ledgers")
    sweep = _command(
        commands, "sweep", entry_points.sweep, "remove what dead processes left in scratch, and check its room"
    )
    drain = _command(
        commands, "drain", entry_points.drain, "drain a worker, wait for its end, sweep (the preStop hook)"
    )
    for entry in (plan, work, report, sweep):
        entry.add_argument("-f", "--filename", metavar="FILE", help=f"the manifest (default: ${JOB_VARIABLE})")
        entry.add_argument("--local", action="store_true", help=argparse.SUPPRESS)
    for entry in (plan, work, report, sweep, drain):
        _add_places(entry)
        _add_verbose(entry)

    work.add_argument(
        "--index",
        type=int,
        default=os.environ.get("JOB_COMPLETION_INDEX", "0"),
        help="this worker's index (default: $JOB_COMPLETION_INDEX)",
    )
    work.add_argument(
        "--workers", type=_positive, help="how many indexes share the plan (default: spec.workers.replicas)"
    )
    work.add_argument("--events", action="store_true", help="print progress as JSON lines on standard output")
    work.add_argument(
        "--listen",
        type=_address,
        default=os.environ.get(LISTEN_VARIABLE) or None,
        metavar="HOST:PORT",
        help=f"answer /healthz, /readyz, /progress, /progress/job and /metrics there (default: ${LISTEN_VARIABLE})",
    )
    sweep.add_argument(
        "--min-free", type=_quantity, default="0", metavar="QUANTITY", help="fail below this free space, such as 1Gi"
    )
    sweep.add_argument(
        "--check-model", action="store_true", help="check too that the manifest's model can be had and has room"
    )
    drain.add_argument("--pid", type=_positive, default=1, help="the worker's process (default 1)")
    drain.add_argument("--timeout", type=float, default=3600.0, metavar="SECONDS", help="how long to wait")
    code = _call(parser, argv)
    if importing():
        try:
            logging.shutdown()
            sys.stdout.flush()
        finally:
            os._exit(code)
    return code


def _command(
    commands: argparse._SubParsersAction[_Parser], name: str, command: Command, text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(command=command)
    return parser


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scratch", type=Path, default=default_scratch(), metavar="DIR", help="where temporary files go (%(default)s)"
    )
    parser.add_argument(
        "--cache", type=Path, default=default_cache(), metavar="DIR", help="where fetched models stay (%(default)s)"
    )


def _add_verbose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-v", "--verbose", action="store_true", help="log every recording")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _quantity(text: str) -> int:
    from transcription_api.quantity import parse_quantity

    try:
        return parse_quantity(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _address(text: str) -> Address:
    from transcription_worker.status_server import Address

    try:
        return Address.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _call(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    """Run a command; every expected failure becomes one sentence on standard error and its exit code."""
    args = parser.parse_args(argv)
    log_to_stderr()
    if getattr(args, "verbose", False):  # libraries have nothing to say about a recording
        logging.getLogger(OWN_LOG).setLevel(logging.INFO)
    try:
        _end_on_sigterm()
        return int(args.command(args))
    except TranscriptionError as error:
        return _failed(str(error), exit_code(error))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except OSError as error:
        return _failed(f"The system refused: {error}.", ExitCode.RETRYABLE)
    except Exception as error:
        traceback.print_exc()
        leave_sentence(f"A fault of the software, see the log: {type(error).__name__}: {printable(str(error))}")
        return ExitCode.FAILED
    finally:
        if os.getpid() == FIRST_PROCESS:
            from transcription_worker.drain import wait_for_hook

            wait_for_hook()


def _failed(sentence: str, code: ExitCode) -> ExitCode:
    print(printable(sentence), file=sys.stderr)
    leave_sentence(printable(sentence))
    return code


def _end_on_sigterm() -> None:
    """Leave by an exception, so that scratch is cleaned; `work` and `run` replace this by their drain."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(ExitCode.DRAINED)

    signal.signal(signal.SIGTERM, end)
