"""The report of a finished job: manifest.jsonl, summary.json and index.html, written in one pass over its outcomes.

Reading the ledger and uploading the three files is the caller's; what they contain stands in docs/output.md.
"""

from __future__ import annotations

from transcription_worker.report.rows import PageLimits
from transcription_worker.report.summary import ReportHeader, Summary
from transcription_worker.report.usage import Price, Usage
from transcription_worker.report.write import CONTENT_TYPES, MANIFEST, PAGE, SUMMARY, write_report

__all__ = [
    "CONTENT_TYPES",
    "MANIFEST",
    "PAGE",
    "SUMMARY",
    "PageLimits",
    "Price",
    "ReportHeader",
    "Summary",
    "Usage",
    "write_report",
]
