"""Transcripts of earlier jobs that still stand, found without a request for each: by ledgers and one listing.

An earlier job's ledger says with which ETag a recording's transcript was committed, and of which source, model and
options it is. Where the output's listing shows that very ETag, nobody has touched it since, and the ledger holds good.

Memory is flat: ledgers, listing and input are spilled to scratch by a hash of the key and joined part by part
(a Grace hash join; Kitsuregawa et al., 1983).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TextIO

from transcription_worker.commit import Overwrite
from transcription_worker.errors import RecordingError
from transcription_worker.formats import CONTENT_TYPES
from transcription_worker.layout import JOBS_PREFIX, JobLayout
from transcription_worker.outcome import Outcome, read_outcomes
from transcription_worker.plan import Recording, Standing
from transcription_worker.scratch import Scratch
from transcription_worker.store.protocol import ObjectInfo, Store

log = logging.getLogger(__name__)

PARTS = 128
"""A million recordings make parts of eight thousand."""
LEDGERS_AT_ONCE = 32
OUTCOMES_PER_TRANSCRIPT = 2
"""A job that is applied every night leaves a ledger of the whole bucket each time: of these the newest are enough."""

_LEDGER = re.compile(rf"{JOBS_PREFIX}[^/]+/ledger/\d+\.jsonl")


def with_standing(
    recordings: Iterable[Recording | None],
    output: Store,
    layout: JobLayout,
    scratch: Scratch,
    *,
    formats: Sequence[str],
    options_digest: str,
    overwrite: Overwrite,
) -> Iterator[Recording | None]:
    """The same recordings in another order, each with the transcript that stands for it where one is proven.

    A recording without one may have a transcript all the same: the worker will ask. Whether the model is still the
    same is the worker's to compare, for only it sees every kind of model.

    Args:
        formats: what the job wants; a transcript that lacks one is not complete.
    """
    ledgers = [] if overwrite is Overwrite.ALWAYS else _earlier_ledgers(output, layout)
    if not ledgers:
        yield from recordings
        return
    with ExitStack() as files:
        parts = [
            files.enter_context(files.enter_context(scratch.file("jsonl")).open("w+", encoding="ascii"))
            for _ in range(PARTS)
        ]
        any_options = overwrite is Overwrite.NEVER
        transcripts = 0
        for info in output.scan():
            if found := None if info.key.startswith(JOBS_PREFIX) else _output(info):
                key, *facts = found
                transcripts += facts[0] == "json"
                _spill(parts, key, "output", *facts)
        for outcome in _outcomes(output, _newest_first(output, ledgers), OUTCOMES_PER_TRANSCRIPT * transcripts):
            if outcome.output_etag and outcome.model and (any_options or outcome.options == options_digest):
                _spill(parts, outcome.key, "ledger", outcome.etag, outcome.output_etag, *_facts(outcome))
        for recording in recordings:
            if recording is None:
                yield None
            else:
                _spill(parts, recording.key, "recording", recording.etag, recording.size)
        wanted = frozenset(formats) | {"json"}
        for part in parts:
            part.seek(0)
            yield from _join(part, wanted, any_source=any_options)


def _earlier_ledgers(output: Store, layout: JobLayout) -> list[str]:
    keys = (info.key for info in output.list(JOBS_PREFIX))
    return [key for key in keys if _LEDGER.fullmatch(key) and not key.startswith(layout.root)]


def _newest_first(output: Store, ledgers: Sequence[str]) -> list[str]:
    """By when the plan of their job was made; those of a job whose plan does not say come last."""
    of_job: dict[str, list[str]] = {}
    for ledger in ledgers:
        of_job.setdefault(ledger.split("/")[1], []).append(ledger)
    with ThreadPoolExecutor(8, "plans") as pool:
        created = dict(zip(of_job, pool.map(partial(_planned, output), of_job), strict=True))
    return [ledger for job in sorted(of_job, key=created.__getitem__, reverse=True) for ledger in of_job[job]]


def _planned(output: Store, job: str) -> str:
    """RFC 3339 UTC, or nothing."""
    try:
        return str(json.loads(output.get(JobLayout(job).plan))["created"])
    except RecordingError as error:
        if error.retryable:
            raise
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    return ""


def _outcomes(output: Store, ledgers: Sequence[str], enough: int) -> Iterator[Outcome]:
    """What ledgers say, in their order, until so many transcripts were spoken of."""
    read = 0
    with ThreadPoolExecutor(8, "ledger") as pool:
        for start in range(0, len(ledgers), LEDGERS_AT_ONCE):
            if read >= enough:
                log.info("%d older ledgers are not read: the newer ones are enough", len(ledgers) - start)
                return
            for outcomes in pool.map(partial(_outcomes_of, output), ledgers[start : start + LEDGERS_AT_ONCE]):
                read += sum(outcome.output_etag is not None for outcome in outcomes)
                yield from outcomes


def _outcomes_of(output: Store, ledger: str) -> list[Outcome]:
    """Nothing of a ledger that was taken away since, or that this release cannot read: workers will ask the store."""
    try:
        return list(read_outcomes(output.get(ledger)))
    except RecordingError as error:
        if error.retryable:
            raise
        why: Exception = error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        why = error
    log.warning("%s is passed over: %s: %s", ledger, type(why).__name__, why)
    return []


def _facts(outcome: Outcome) -> tuple[str | None, str | None, float, int]:
    return outcome.model, outcome.options, outcome.duration or 0.0, outcome.words or 0


def _output(info: ObjectInfo) -> tuple[str, str, str | None] | None:
    """Recording and format of `<key>[.ch<n>].<format>`, and the ETag where it is the transcript; None for others."""
    key, _, suffix = info.key.rpartition(".")
    if not key or suffix not in CONTENT_TYPES:
        return None
    whole, _, channel = key.rpartition(".")
    if whole and channel.startswith("ch") and channel[2:].isdecimal():
        return whole, suffix, None
    return key, suffix, info.etag if suffix == "json" else None


def _spill(parts: Sequence[TextIO], key: str, kind: str, *fields: object) -> None:
    parts[hash(key) % len(parts)].write(json.dumps((kind, key, *fields)) + "\n")


@dataclass(slots=True)
class _Found:
    """What the listing shows of one recording's outputs."""

    etag: str | None = None
    formats: set[str] = field(default_factory=set)


def _join(lines: Iterable[str], wanted: frozenset[str], *, any_source: bool) -> Iterator[Recording]:
    """The recordings of one part. Ledgers and listing come before them."""
    ledger: dict[tuple[str, str], tuple[str, Standing]] = {}
    listing: dict[str, _Found] = {}
    for line in lines:
        kind, key, *fields = json.loads(line)
        if kind == "ledger":
            source, etag, *facts = fields
            ledger[key, etag] = source, Standing(etag, *facts)
        elif kind == "output":
            found = listing.setdefault(key, _Found())
            found.formats.add(fields[0])
            found.etag = fields[1] or found.etag
        else:
            yield _proven(Recording(key, *fields), listing.get(key), ledger, wanted, any_source)


def _proven(
    recording: Recording, found: _Found | None, ledger: dict[Any, Any], wanted: frozenset[str], any_source: bool
) -> Recording:
    source, standing = ledger.get((recording.key, found.etag if found else None), (None, None))
    if standing is None or found is None or not wanted <= found.formats:
        return recording
    if source != recording.etag:
        return replace(recording, standing=replace(standing, source=source)) if any_source else recording
    return replace(recording, standing=standing)
