"""Command lines: `transcription` for people, `transcription-worker` for containers. Parses, calls, maps to exit codes.

What an entry point needs is imported when it is called: `--help` and `sweep` start in a moment, and only `work` ever
imports the model toolkit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from transcription_worker import __version__
from transcription_worker.errors import (
    ConfigurationError,
    ExitCode,
    PreconditionFailed,
    RecordingError,
    RetryableError,
    TranscriptionError,
    printable,
)
from transcription_worker.places import JOB_VARIABLE, default_cache, default_scratch, refuse_overlap

if TYPE_CHECKING:
    from transcription_worker.job_context import JobContext

Command = Callable[[argparse.Namespace], int]

TERMINATION_LOG = Path("/dev/termination-log")


def main(argv: Sequence[str] | None = None) -> int:
    """`transcription`: validate a manifest, or run a job on this machine."""
    parser = argparse.ArgumentParser(
        prog="transcription", description="Batch transcription of recordings with NVIDIA NeMo."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    validate = _command(commands, "validate", _validate, "print every fault of a manifest and its mend")
    validate.add_argument(
        "-f", "--filename", required=True, metavar="FILE", help="the manifest; - reads standard input"
    )
    validate.add_argument("--local", action="store_true", help="allow file paths, as `transcription run` does")

    run = _command(commands, "run", _run, "run a whole job on this machine, without a cluster")
    _add_manifest(run)
    run.add_argument("--workers", type=_positive, default=1, metavar="N", help="worker processes (default 1)")
    _add_places(run)
    _add_verbose(run)
    return _call(parser, argv)


def worker_main(argv: Sequence[str] | None = None) -> int:
    """`transcription-worker`: the entry points of the pods. The manifest comes as a file or in TRANSCRIPTION_JOB."""
    parser = argparse.ArgumentParser(prog="transcription-worker", description="What runs in the pods of a job.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    plan = _command(commands, "plan", _plan, "list the input and write the plan")
    work = _command(commands, "work", _work, "work shards until all have their ledger")
    report = _command(commands, "report", _report, "write the report from the ledgers")
    for entry in (plan, work, report):
        entry.add_argument("-f", "--filename", metavar="FILE", help=f"the manifest (default: ${JOB_VARIABLE})")
        entry.add_argument("--local", action="store_true", help=argparse.SUPPRESS)
        _add_places(entry)
        _add_verbose(entry)
    work.add_argument(
        "--index",
        type=int,
        default=os.environ.get("JOB_COMPLETION_INDEX", "0"),
        help="this worker's index (default: $JOB_COMPLETION_INDEX)",
    )
    work.add_argument("--workers", type=_positive, help="how many indexes share the plan (default: workers.replicas)")
    work.add_argument("--events", action="store_true", help="print progress as JSON lines on standard output")

    sweep = _command(commands, "sweep", _sweep, "remove what dead processes left in scratch, and check its room")
    _add_places(sweep)
    sweep.add_argument(
        "--min-free", type=_quantity, default="0", metavar="QUANTITY", help="fail below this free space, such as 1Gi"
    )
    _add_verbose(sweep)

    drain = _command(commands, "drain", _drain, "drain a worker, wait for its end, sweep (the preStop hook)")
    drain.add_argument("--pid", type=_positive, default=1, help="the worker's process (default 1)")
    drain.add_argument("--timeout", type=float, default=3600.0, metavar="SECONDS", help="how long to wait")
    _add_places(drain)
    _add_verbose(drain)
    return _call(parser, argv)


# -- entry points


def _validate(args: argparse.Namespace) -> int:
    from transcription_api.load import validate_manifest

    faults = validate_manifest(_source(args.filename), local=args.local)
    for fault in faults:
        print(fault)
    if not faults:
        print(f"{args.filename}: valid")
    return ExitCode.INVALID_MANIFEST if faults else ExitCode.OK


def _run(args: argparse.Namespace) -> int:
    from transcription_worker.display import Display
    from transcription_worker.run import LocalRun, start_context

    context = start_context(_apart(_load(args.filename, local=True), args))
    run = LocalRun(context, args.scratch, args.cache, args.workers, args.verbose, Display())
    return run.execute()


def _plan(args: argparse.Namespace) -> int:
    from transcription_worker.parent import die_with_parent
    from transcription_worker.plan_job import run_plan
    from transcription_worker.scratch import Scratch

    if args.local:
        die_with_parent()
    with Scratch(args.scratch, min_free_bytes=0) as scratch:
        plan = run_plan(_context(args), scratch)
    _summarise(asdict(plan))
    return ExitCode.OK


def _work(args: argparse.Namespace) -> int:
    from transcription_worker.progress import Progress
    from transcription_worker.work_job import WorkerIdentity, run_work

    context = _context(args)
    identity = WorkerIdentity(args.index, args.workers or context.job.spec.workers.replicas)
    if not args.events:
        return run_work(context, identity, args.scratch, args.cache, Progress())
    from transcription_worker.parent import die_with_parent

    die_with_parent()
    progress = Progress(_emit)
    with progress.published_every(0.5):
        try:
            return run_work(context, identity, args.scratch, args.cache, progress)
        except TranscriptionError as error:
            _emit(json.dumps({"event": "error", "message": str(error)}))
            return _exit_code(error)


def _emit(event: str) -> None:
    """One event, one line. Nobody reads any more when `run` was killed: the worker is draining then."""
    with contextlib.suppress(OSError):
        sys.stdout.write(f"{event}\n")
        sys.stdout.flush()


def _report(args: argparse.Namespace) -> int:
    from transcription_worker.parent import die_with_parent
    from transcription_worker.report_job import run_report
    from transcription_worker.scratch import Scratch

    if args.local:
        die_with_parent()
    with Scratch(args.scratch, min_free_bytes=0) as scratch:
        _summarise(run_report(_context(args), scratch))
    return ExitCode.OK


def _sweep(args: argparse.Namespace) -> int:
    from transcription_worker.model_cache import sweep_partials
    from transcription_worker.sweep import sweep_main

    refuse_overlap(args.scratch, {"the cache": args.cache})
    sweep_partials(args.cache)
    return sweep_main(args.scratch, args.min_free)


def _drain(args: argparse.Namespace) -> int:
    from transcription_worker.drain import drain

    return drain(args.pid, args.scratch, args.timeout)


# -- shared


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, command: Command, text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(command=command)
    return parser


def _add_manifest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--filename", required=True, metavar="FILE", help="the manifest; - is standard input")


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


def _source(filename: str) -> str | Path:
    """A text of one line would be taken for a file's name: the line break says that it is none."""
    return f"{sys.stdin.read()}\n" if filename == "-" else Path(filename)


def _load(filename: str | None, *, local: bool) -> JobContext:
    from transcription_api.load import ManifestError, load_manifest
    from transcription_worker.job_context import JobContext

    source = _source(filename) if filename else f"{os.environ.get(JOB_VARIABLE, '')}\n"
    if isinstance(source, str) and not source.strip():
        raise ConfigurationError(f"There is no manifest: name a file with -f, or set {JOB_VARIABLE}.")
    try:
        return JobContext(load_manifest(source, local=local))
    except ManifestError as error:
        print(error, file=sys.stderr)
        raise SystemExit(ExitCode.INVALID_MANIFEST) from None


def _context(args: argparse.Namespace) -> JobContext:
    return _apart(_load(args.filename, local=args.local), args)


def _apart(context: JobContext, args: argparse.Namespace) -> JobContext:
    refuse_overlap(args.scratch, {**context.local_places, "the cache": args.cache})
    return context


def _summarise(summary: dict[str, object]) -> None:
    """Print a pod's summary, and leave it where the kubelet takes it up as the termination message."""
    text = json.dumps(summary)
    print(text)
    if os.environ.get("KUBERNETES_SERVICE_HOST") and TERMINATION_LOG.exists():
        TERMINATION_LOG.write_text(text)


def _call(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    """Run a command; every expected failure becomes one sentence on standard error and its exit code."""
    args = parser.parse_args(argv)
    logging.basicConfig(
        level=logging.INFO if getattr(args, "verbose", False) else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger().handlers[0].addFilter(_printable_only)
    _end_on_sigterm()
    try:
        return int(args.command(args))
    except TranscriptionError as error:
        print(printable(str(error)), file=sys.stderr)
        return _exit_code(error)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except OSError as error:
        print(f"The system refused: {printable(str(error))}.", file=sys.stderr)
        return ExitCode.RETRYABLE


def _printable_only(record: logging.LogRecord) -> bool:
    """Keys are untrusted: none may speak to the terminal or forge a line of the log."""
    record.msg, record.args = printable(record.getMessage()), None
    return True


def _exit_code(error: TranscriptionError) -> ExitCode:
    """A passing failure of the store is worth another attempt, whichever object it met."""
    passing = isinstance(error, RetryableError | PreconditionFailed)
    if isinstance(error, RecordingError):
        passing = error.retryable
    return ExitCode.RETRYABLE if passing else ExitCode.CONFIGURATION


def _end_on_sigterm() -> None:
    """Leave by an exception, so that scratch is cleaned; `work` and `run` replace this by their drain."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(ExitCode.DRAINED)

    signal.signal(signal.SIGTERM, end)
