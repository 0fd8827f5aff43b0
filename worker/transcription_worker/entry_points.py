"""What each command does, with its arguments parsed. The command lines themselves are `cli.py`.

What an entry point needs is imported when it is called: `--help` and `sweep` start in a moment, and only `work` ever
imports the model toolkit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from transcription_worker.errors import ConfigurationError, ExitCode, TranscriptionError, exit_code
from transcription_worker.places import JOB_VARIABLE, refuse_overlap
from transcription_worker.termination import leave_sentence, leave_summary

if TYPE_CHECKING:
    from transcription_worker.job_context import JobContext
    from transcription_worker.progress import Progress

PLAN_FIELDS = ("recordings", "ignored", "total_bytes", "shards", "conditional_writes")
REPORT_FIELDS = (
    *("planned", "done", "skipped", "failed", "missing", "audio_seconds", "wall_seconds", "speed"),
    *("conditional_writes", "report", "failures_by_reason", "failures"),
)
"""Fields of the termination messages, in the order of their worth: what does not fit goes from the end."""
MESSAGE_LENGTH = 200
"""Of a failure in a termination message, in characters: so ten of them fit."""


def validate(args: argparse.Namespace) -> int:
    from transcription_api.load import validate_manifest

    faults = validate_manifest(_source(args.filename), local=args.local)
    for fault in faults:
        print(fault)
    if not faults:
        print(f"{args.filename}: valid")
    return ExitCode.INVALID_MANIFEST if faults else ExitCode.OK


def run(args: argparse.Namespace) -> int:
    from transcription_worker.display import Display
    from transcription_worker.run import LocalRun, start_context

    context = start_context(_apart(_load(args.filename, local=True), args))
    return LocalRun(context, args.scratch, args.cache, args.workers, args.verbose, Display()).execute()


def plan(args: argparse.Namespace) -> int:
    from transcription_worker.parent import die_with_parent
    from transcription_worker.plan_job import run_plan
    from transcription_worker.scratch import Scratch
    from transcription_worker.scratch_space import disk_ends_process

    if args.local:
        die_with_parent()
    with Scratch(args.scratch, min_free_bytes=0) as scratch, disk_ends_process(scratch.root):
        summary = asdict(run_plan(_context(args), scratch))
    print(json.dumps(summary))
    leave_summary({name: summary[name] for name in PLAN_FIELDS})
    return ExitCode.OK


def work(args: argparse.Namespace) -> int:
    from transcription_worker.progress import Progress

    return _work_with_events(args) if args.events else _work(args, Progress())


def _work(args: argparse.Namespace, progress: Progress) -> int:
    from transcription_worker.work_job import WorkerIdentity, run_work

    context = _context(args)
    identity = WorkerIdentity(args.index, args.workers or context.job.spec.workers.replicas)
    return run_work(context, identity, args.scratch, args.cache, progress, args.listen, local=args.local)


def _work_with_events(args: argparse.Namespace) -> int:
    from transcription_worker.parent import die_with_parent
    from transcription_worker.progress import Progress

    die_with_parent()
    progress = Progress(_emit)
    with progress.published_every(0.5):
        try:
            return _work(args, progress)
        except TranscriptionError as error:
            _emit(json.dumps({"event": "error", "message": str(error)}))
            return exit_code(error)


def report(args: argparse.Namespace) -> int:
    from transcription_worker.parent import die_with_parent
    from transcription_worker.report import Price
    from transcription_worker.report_job import run_report
    from transcription_worker.scratch import Scratch
    from transcription_worker.scratch_space import disk_ends_process

    if args.local:
        die_with_parent()
    with Scratch(args.scratch, min_free_bytes=0) as scratch, disk_ends_process(scratch.root):
        summary = run_report(_context(args), scratch, Price.of_environment(os.environ))
    print(json.dumps(summary))
    told = [{**failure, "message": failure["message"][:MESSAGE_LENGTH]} for failure in summary["failures"]]
    leave_summary({name: summary[name] for name in REPORT_FIELDS} | {"failures": told})
    return ExitCode.OK


def sweep(args: argparse.Namespace) -> int:
    from transcription_worker.model_cache import sweep_partials
    from transcription_worker.sweep import checked_sweep

    refuse_overlap(args.scratch, {"the cache": args.cache})
    sweep_partials(args.cache)
    swept, free = checked_sweep(args.scratch, args.min_free)
    if args.check_model:
        from transcription_worker.preflight import check_model

        check_model(_context(args), args.scratch, args.cache)
    summary = {
        "orphans": swept.orphans,
        "removed": swept.removed,
        "removed_bytes": swept.removed_bytes,
        "failed": swept.failed,
        "free_bytes": free,
    }
    print(json.dumps(summary))
    leave_summary(summary)
    return ExitCode.OK


def drain(args: argparse.Namespace) -> int:
    from transcription_worker.drain import drain
    from transcription_worker.model_cache import sweep_partials

    code = drain(args.pid, args.scratch, args.timeout)
    if code == ExitCode.OK:
        sweep_partials(args.cache)
    return code


# -- shared


def _emit(event: str) -> None:
    """One event, one line. Nobody reads any more when `run` was killed: the worker is draining then."""
    with contextlib.suppress(OSError):
        sys.stdout.write(f"{event}\n")
        sys.stdout.flush()


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
        leave_sentence(str(error))
        raise SystemExit(ExitCode.INVALID_MANIFEST) from None


def _context(args: argparse.Namespace) -> JobContext:
    return _apart(_load(args.filename, local=args.local), args)


def _apart(context: JobContext, args: argparse.Namespace) -> JobContext:
    refuse_overlap(args.scratch, {**context.local_places, "the cache": args.cache})
    return context
