"""One pass over the outcomes of a job, three files. Memory is bounded by the page's limits, never by the job."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from transcription_worker.outcome import Outcome, State
from transcription_worker.report.page import page
from transcription_worker.report.rows import PageLimits, Sample, embedded_transcripts, row
from transcription_worker.report.summary import ReportHeader, Summary, Tally
from transcription_worker.report.usage import Usage
from transcription_worker.transcript import Transcript

MANIFEST = "manifest.jsonl"
SUMMARY = "summary.json"
PAGE = "index.html"

CONTENT_TYPES: Mapping[str, str] = MappingProxyType(
    {MANIFEST: "application/jsonl; charset=utf-8", SUMMARY: "application/json", PAGE: "text/html; charset=utf-8"}
)
"""Content type of each file of the report; PAGE comes last because it links to the others."""


def write_report(
    header: ReportHeader,
    outcomes: Iterable[Outcome],
    *,
    scratch_paths: Callable[[str], Path],
    transcripts: Callable[[Outcome], Transcript | None] = lambda outcome: None,
    local_source: Callable[[str], Path | None] = lambda key: None,
    usage: Usage | None = None,
    limits: PageLimits = PageLimits(),  # noqa: B008 (frozen)
) -> Summary:
    """Write manifest.jsonl, summary.json and index.html.

    Args:
        header: the job as a whole.
        outcomes: read once, in the order that the manifest keeps.
        scratch_paths: file name -> the path to write it at.
        transcripts: the committed transcript of an outcome, for the page; called for `limits.transcripts` at most.
        local_source: the audio file of a key where the input is a directory: the page plays it.
        usage: what the workers took.
        limits: bounds of the page.
    """
    tally, failures, others = Tally(), Sample(limits.failures), Sample(limits.rows)
    with scratch_paths(MANIFEST).open("wb") as manifest:
        for outcome in outcomes:
            manifest.write(f"{outcome.to_json()}\n".encode(errors="backslashreplace"))
            tally.add(outcome)
            (failures if outcome.state is State.FAILED else others).add(outcome)
    summary = tally.summary(header, usage)
    scratch_paths(SUMMARY).write_bytes(summary.to_json())

    shown_failures = failures.sorted()
    shown_others = others.sorted(max(0, limits.rows - len(shown_failures)))
    shown = shown_failures + shown_others
    audio = [local_source(outcome.key) for outcome in shown]
    body = page(
        summary,
        rows=[row(outcome, path, limits) for outcome, path in zip(shown, audio, strict=True)],
        transcripts=dict(embedded_transcripts(shown, [path is not None for path in audio], transcripts, limits)),
        note=_left_out("failed", shown_failures, failures) + _left_out("other", shown_others, others),
    )
    scratch_paths(PAGE).write_bytes(body)
    return summary


def _left_out(kind: str, shown: list[Outcome], sample: Sample) -> str:
    if len(shown) == sample.seen:
        return ""
    return f"The table shows {len(shown):,} of {sample.seen:,} {kind} recordings, chosen evenly. "
