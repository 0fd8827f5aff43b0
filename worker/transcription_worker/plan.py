"""What is to be done: list the input, cut it into shards, write the plan once. No audio is read here.

Memory is flat: recordings are spilled to one scratch file per size class and read back from the largest class to the
smallest, so that long recordings start first (Graham's LPT rule, 1969) and shards shrink towards the end (guided
self-scheduling, Polychronopoulos & Kuck, 1987).
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TextIO, TypeVar

from transcription_worker.errors import ConfigurationError, PreconditionFailed, Reason, RecordingError
from transcription_worker.fault_points import Point, reach
from transcription_worker.layout import JobLayout
from transcription_worker.scratch import Scratch
from transcription_worker.store.protocol import IfAbsent, Store

log = logging.getLogger(__name__)

PLAN_VERSION = 1
MAX_SHARD_RECORDINGS = 1000
SHARDS_PER_WORKER = 8
"""A shard takes at most 1/(8 x workers) of what is left: small enough that the last ones end together."""
FEWEST_SHARD_RECORDINGS, LEAST_SHARD_SHARE = 16, 1 / 16
"""What is left gets ever smaller, and a shard costs as many requests with one short recording as with sixteen: it takes
so many, or so much of what the first shard takes, where that is less."""

BYTES_PER_SECOND = {
    **dict.fromkeys(("wav", "aiff", "aif", "aifc", "au", "snd", "caf", "w64"), 32_000),
    **dict.fromkeys(("flac",), 18_000),
    **dict.fromkeys(("mp3", "m4a", "aac", "wma", "ogg"), 12_000),
    **dict.fromkeys(("mp4", "m4b", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts"), 60_000),
    **dict.fromkeys(("opus", "oga", "mka"), 5_000),
    **dict.fromkeys(("amr", "3gp"), 1_600),
}
"""Typical rates of speech recordings, only to weigh formats against each other: an estimate off by 3x costs nothing
but a little balance."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A transcript that an earlier job committed and that still stands: its ETag, and of what it is the transcript.

    `source` is the ETag of the source where that is another version than the plan's (kept by `overwrite: Never`).
    """

    etag: str
    model: str
    options: str
    duration: float
    words: int
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """One line of a shard. `size` in bytes; with the transcript that the plan has proven to stand for it, or None."""

    key: str
    etag: str
    size: int
    standing: Standing | None = None

    @property
    def extension(self) -> str:
        return self.key.rpartition("/")[2].rpartition(".")[2].lower()

    @property
    def estimated_seconds(self) -> float:
        return self.size / BYTES_PER_SECOND.get(self.extension, 16_000) + 0.1

    def to_json(self) -> str:
        fields: dict[str, object] = {"key": self.key, "etag": self.etag, "size": self.size}
        if found := self.standing:  # a million times: dataclasses.asdict copies deeply and takes ten times as long
            fields["standing"] = {
                "etag": found.etag,
                "model": found.model,
                "options": found.options,
                "duration": found.duration,
                "words": found.words,
                **({"source": found.source} if found.source else {}),
            }
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> Recording:
        fields = json.loads(line)
        if standing := fields.pop("standing", None):
            return cls(**fields, standing=Standing(**standing))
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Plan:
    """plan.json: the facts of a plan. Its existence says that every shard is written, below `attempt`."""

    job_id: str
    attempt: str
    created: str
    recordings: int
    total_bytes: int
    estimated_seconds: float
    ignored: int
    shards: int
    conditional_writes: bool
    version: int = PLAN_VERSION

    def to_json(self) -> bytes:
        return (json.dumps(asdict(self), indent=2) + "\n").encode()

    @classmethod
    def from_json(cls, body: bytes) -> Plan:
        fields = json.loads(body)
        if fields.get("version") != PLAN_VERSION:
            raise ConfigurationError(
                f"The plan has version {fields.get('version')}, this worker reads {PLAN_VERSION}: "
                "run plan, work and report from one release."
            )
        return cls(**fields)


def read_plan(output: Store, layout: JobLayout) -> Plan:
    try:
        return Plan.from_json(output.get(layout.plan))
    except RecordingError as error:
        if error.reason is not Reason.NOT_FOUND:
            raise
        raise ConfigurationError(f"There is no {layout.plan} in {output.uri}: run plan first.") from None


def read_shard(output: Store, layout: JobLayout, plan: Plan, shard: int) -> list[Recording]:
    lines = output.get(layout.shard(plan.attempt, shard)).decode().split("\n")
    return [Recording.from_json(line) for line in lines if line]


def make_plan(
    recordings: Iterable[Recording | None],
    output: Store,
    layout: JobLayout,
    scratch: Scratch,
    *,
    workers: int,
    conditional_writes: bool,
    now: Callable[[], str],
) -> Plan:
    """Write shards and then plan.json, or return the plan that stands.

    Args:
        recordings: the input in any order; None counts an object that is no recording ("ignored").
        workers: how many indexes will share the plan.
        now: RFC 3339 time of creation.
    """
    if output.head(layout.plan) is not None:
        log.info("plan stands already")
        return read_plan(output, layout)
    attempt = uuid.uuid4().hex[:8]
    with ExitStack() as spills:
        classes: dict[int, tuple[Path, TextIO]] = {}
        count = ignored = size = 0
        seconds = 0.0
        for recording in recordings:
            if recording is None:
                ignored += 1
                continue
            weight = recording.estimated_seconds
            size_class = int(weight).bit_length()
            if size_class not in classes:
                path = spills.enter_context(scratch.file("jsonl"))
                stream = path.open("w+", encoding="utf-8", errors="backslashreplace", newline="\n")
                classes[size_class] = (path, spills.enter_context(stream))
            classes[size_class][1].write(f"{weight!r} {recording.to_json()}\n")
            count, size, seconds = count + 1, size + recording.size, seconds + weight
        reach(Point.PLAN_LISTED)
        ordered = _largest_first([stream for _, (_, stream) in sorted(classes.items(), reverse=True)])
        shards = _write_shards(cut_shards(ordered, seconds, workers), output, layout, attempt)
    plan = Plan(
        job_id=layout.job_id,
        attempt=attempt,
        created=now(),
        recordings=count,
        total_bytes=size,
        estimated_seconds=round(seconds, 1),
        ignored=ignored,
        shards=shards,
        conditional_writes=conditional_writes,
    )
    reach(Point.PLAN_BEFORE)
    try:
        output.put(
            layout.plan,
            plan.to_json(),
            content_type="application/json",
            condition=IfAbsent() if conditional_writes else None,
        )
    except PreconditionFailed:
        return read_plan(output, layout)
    reach(Point.PLAN_WRITTEN)
    return plan


class _Line(NamedTuple):
    """A recording as its shard will hold it, line break included."""

    estimated_seconds: float
    text: str


def _largest_first(spills: list[TextIO]) -> Iterator[_Line]:
    for stream in spills:
        stream.seek(0)
        for line in stream:
            weight, _, text = line.partition(" ")
            yield _Line(float(weight), text)


class Weighed(Protocol):
    """What shards are cut by."""

    @property
    def estimated_seconds(self) -> float: ...


W = TypeVar("W", bound=Weighed)


def cut_shards(recordings: Iterable[W], total_seconds: float, workers: int) -> Iterator[list[W]]:
    """Cut an ordered stream into shards, each about 1/(8 x workers) of the audio that is left.

    The last ones take more of it where they would hold next to nothing: so many recordings as cost next to nothing.
    """
    left = total_seconds
    least = LEAST_SHARD_SHARE * total_seconds / (SHARDS_PER_WORKER * workers)
    shard: list[W] = []
    weight = 0.0
    for recording in recordings:
        shard.append(recording)
        weight += recording.estimated_seconds
        worthwhile = weight >= least or len(shard) >= FEWEST_SHARD_RECORDINGS
        full = worthwhile and weight >= left / (SHARDS_PER_WORKER * workers)
        if full or len(shard) >= MAX_SHARD_RECORDINGS:
            yield shard
            left -= weight
            shard, weight = [], 0.0
    if shard:
        yield shard


def _write_shards(shards: Iterable[list[_Line]], output: Store, layout: JobLayout, attempt: str) -> int:
    def write(numbered: tuple[int, list[_Line]]) -> None:
        number, shard = numbered
        body = "".join(line.text for line in shard).encode(errors="backslashreplace")
        output.put(layout.shard(attempt, number), body, content_type="application/x-ndjson")
        reach(Point.PLAN_SHARD_WRITTEN)

    count = 0
    with ThreadPoolExecutor(8, "plan") as pool:
        pending = []
        for count, shard in enumerate(shards, start=1):
            pending.append(pool.submit(write, (count - 1, shard)))
            if len(pending) >= 32:
                pending.pop(0).result()
        for future in pending:
            future.result()
    return count
