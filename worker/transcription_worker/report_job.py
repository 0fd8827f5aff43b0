"""`transcription-worker report`: read plan and ledgers, write the report beside them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from transcription_worker import __version__
from transcription_worker.counts import MAX_FAILURES, Failure
from transcription_worker.errors import RecordingError
from transcription_worker.fault_points import Point, reach
from transcription_worker.formats import from_json
from transcription_worker.job_context import JobContext
from transcription_worker.layout import JobLayout
from transcription_worker.outcome import Outcome, State, read_outcomes
from transcription_worker.plan import read_plan
from transcription_worker.report import CONTENT_TYPES, PAGE, Price, ReportHeader, Usage, write_report
from transcription_worker.scratch import Scratch
from transcription_worker.store import Store
from transcription_worker.time_use import Timesheet
from transcription_worker.timestamps import parse, utc_now
from transcription_worker.transcript import Transcript

log = logging.getLogger(__name__)

READERS = 8
"""Small objects that are read at once."""


def run_report(context: JobContext, scratch: Scratch, price: Price | None = None) -> dict[str, Any]:
    """Write the report; returns the fields of summary.json, `report` (where the page is), and the first `failures`.

    Args:
        price: of the GPUs, where it is known.

    Raises:
        RecordingError: there is no plan (NotFound).
    """
    output, layout, spec = context.output_store, context.layout, context.job.spec
    plan = read_plan(output, layout)
    output.abort_uploads_of(layout.report(""))  # those of a reporter that was killed: one runs at a time
    finished = utc_now()
    header = ReportHeader(
        job=context.job.metadata.name,
        job_id=layout.job_id,
        input=str(spec.input.uri or spec.input.manifest),
        output=spec.output.uri,
        model=context.model_label,
        options=spec.transcription.model_dump(mode="json", by_alias=True, exclude_none=True),
        started=plan.created,
        finished=finished,
        wall_seconds=max(0.0, (parse(finished) - parse(plan.created)).total_seconds()),
        conditional_writes=plan.conditional_writes,
        ignored=plan.ignored,
        planned=plan.recordings,
        software=f"transcription-operator {__version__}",
    )
    failures: list[Failure] = []
    with ExitStack() as files:
        paths: dict[str, Path] = {}

        def path_for(name: str) -> Path:
            return paths.setdefault(name, files.enter_context(scratch.file(name.rpartition(".")[2])))

        summary = write_report(
            header,
            _noting(failures, _outcomes(output, layout)),
            scratch_paths=path_for,
            transcripts=_transcripts(output),
            local_source=_local_source(context.input_store),
            usage=Usage.of(timesheets(output, layout, plan.attempt), price),
        )
        reach(Point.REPORT_RENDERED)
        for name in sorted(paths, key=lambda name: name == PAGE):
            output.put(layout.report(name), paths[name], content_type=CONTENT_TYPES[name])
            reach(Point.REPORT_PUT)
    return {
        **summary.to_dict(),
        "report": f"{context.output_uri}/{layout.report(PAGE)}",
        "failures": [asdict(failure) for failure in failures],
    }


def _noting(failures: list[Failure], outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    for outcome in outcomes:
        if outcome.state is State.FAILED and len(failures) < MAX_FAILURES:
            failures.append(Failure.of(outcome))
        yield outcome


def _outcomes(output: Store, layout: JobLayout) -> Iterator[Outcome]:
    """The outcomes of every ledger, in the order of shards, read a few ledgers ahead."""
    keys = [info.key for info in output.list(layout.ledgers)]
    with ThreadPoolExecutor(READERS, "ledger") as pool:
        for start in range(0, len(keys), 32):
            for body in pool.map(output.get, keys[start : start + 32]):
                yield from read_outcomes(body)


def timesheets(output: Store, layout: JobLayout, plan: str) -> Iterator[Timesheet]:
    """Of the workers that worked for this attempt at planning; a large fleet leaves thousands."""
    keys = [info.key for info in output.list(layout.workers)]
    with ThreadPoolExecutor(READERS, "timesheet") as pool:
        for sheet in pool.map(partial(_timesheet, output), keys):
            if sheet is not None and sheet.plan == plan:
                yield sheet


def _timesheet(output: Store, key: str) -> Timesheet | None:
    try:
        return Timesheet.from_json(output.get(key))
    except (RecordingError, ValueError) as error:
        log.warning("%s is left out: %s", key, error)
        return None


def _local_source(source: Store) -> Callable[[str], Path | None]:
    def find(key: str) -> Path | None:
        try:
            return source.local_path(key)
        except RecordingError:
            return None  # its outcome says why it cannot be read

    return find


def _transcripts(output: Store) -> Callable[[Outcome], Transcript | None]:
    def read(outcome: Outcome) -> Transcript | None:
        try:
            return from_json(output.get(outcome.output)) if outcome.output else None
        except RecordingError as error:  # moved away or replaced meanwhile: the page goes without its text
            log.warning("%s is not on the page: %s", outcome.output, error)
            return None

    return read
