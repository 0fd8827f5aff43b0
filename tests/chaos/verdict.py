"""What a job must have left after its last restart, whatever was killed: looked up in the bucket, on disk, in /proc.

Nothing of the worker's own reading is used but the plan's layout; the other side is a run that nobody disturbed.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.chaos.fleet import ChaosJob
from tests.jobs import command_line
from tests.s3server import S3Server

VOLATILE = frozenset({"worker", "finished", "attempts"})
"""Fields of an outcome that two runs may differ in, beside `*_seconds`, and the ETag of its transcript, which must be
that of the transcript found."""
CONFIDENCE_STEP = 0.00011
"""Two runs put recordings into different batches, where sums in float32 come out in another order: words and times come
out the same, a confidence may round to the next of its four decimals. That, and the name of the job in the provenance
where the runs have different ones, is all that may differ in a transcript."""
OWN_OBJECTS = re.compile(
    r"(plan/plan\.json|plan/[0-9a-f]{8}/shard-\d{5}\.jsonl|claims/\d{5}\.\d+(\.\d+)?|ledger/\d{5}\.jsonl"
    r"|workers/\d+-[0-9a-f]{8}\.json|report/(manifest\.jsonl|summary\.json|index\.html))"
)
PROBE = re.compile(r"_transcription/\.probe-[0-9a-f]{32}")
"""Left by a planner that was killed while it probed conditional writes; the first plan of a later day removes it."""
_CONFIDENCE = re.compile(rb'"confidence":([0-9.e-]+)')
_REQUEST = re.compile(r"\[(?P<time>[^]]+)\] .*? s3_(?P<action>\w+) .*? (?P<path>/\S*) (?P<status>\d{3}) ")


@dataclass(frozen=True)
class Reference:
    """What an undisturbed run left: transcripts and their other formats by key, outcomes by recording."""

    objects: dict[str, bytes]
    outcomes: dict[str, dict[str, Any]]
    job_id: str


@dataclass
class Verdict:
    """Counts of what must be zero, and a sentence for each.

    `probes_left` may be there for a day. `silence_seconds`: the longest time without a request.
    """

    planned: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    bytes_left: int = 0
    uploads_left: int = 0
    probes_left: int = 0
    partials_left: int = 0
    locks_held: int = 0
    processes_left: int = 0
    silence_seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    def blame(self, kind: str, count: int, sentence: str) -> None:
        if count:
            setattr(self, kind, getattr(self, kind) + count)
            self.faults.append(sentence)


def read_objects(server: S3Server, bucket: str, prefix: str) -> dict[str, tuple[str, bytes]]:
    """Key below the prefix -> ETag and body."""
    client = server.client()
    found = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", ()):
            body = client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
            found[item["Key"].removeprefix(prefix)] = (item["ETag"].strip('"'), body)
    return found


def reference_of(job: ChaosJob) -> Reference:
    objects = read_objects(job.server, job.bucket, f"{job.output}/")
    own = f"_transcription/{job.job_id}/"
    outcomes = {line["key"]: line for line in _lines(objects, f"{own}ledger/")}
    transcripts = {key: body for key, (_, body) in objects.items() if not key.startswith("_transcription/")}
    return Reference(transcripts, outcomes, job.job_id)


def examine(job: ChaosJob, reference: Reference, requests: list[str]) -> Verdict:
    """Everything that the promise says of one job that has ended; `requests` are the server's log since it began."""
    verdict = Verdict()
    objects = read_objects(job.server, job.bucket, f"{job.output}/")
    own = f"_transcription/{job.job_id}/"
    _outcomes(verdict, objects, own, reference)
    _transcripts(verdict, objects, job, reference)
    _report(verdict, objects, own)
    _left_in_bucket(verdict, objects, job)
    _left_on_disk(verdict, job)
    _left_in_memory(verdict, job)
    _requests(verdict, job, requests)
    return verdict


def _lines(objects: dict[str, tuple[str, bytes]], prefix: str) -> Iterator[dict[str, Any]]:
    for key in sorted(key for key in objects if key.startswith(prefix)):
        yield from (json.loads(line) for line in objects[key][1].decode().splitlines())


def _outcomes(verdict: Verdict, objects: dict[str, tuple[str, bytes]], own: str, reference: Reference) -> None:
    """Every planned recording has one outcome, that of the undisturbed run, in the ledger of its shard."""
    plan = json.loads(objects[f"{own}plan/plan.json"][1])
    verdict.planned = plan["recordings"]
    planned = [line["key"] for line in _lines(objects, f"{own}plan/{plan['attempt']}/")]
    settled = Counter(line["key"] for line in _lines(objects, f"{own}ledger/"))
    missing = [key for key in planned if not settled[key]]
    verdict.blame("lost", len(missing), f"no outcome: {missing[:5]}")
    twice = [key for key, count in settled.items() if count > 1]
    verdict.blame("doubled", len(twice), f"more than one outcome: {twice[:5]}")
    strange = settled.keys() - set(planned)
    verdict.blame("wrong", len(strange), f"outcomes of what was never planned: {sorted(strange)[:5]}")
    if sorted(planned) != sorted(reference.outcomes):
        verdict.blame("wrong", 1, "the plan is not that of the undisturbed run")
    for shard in range(plan["shards"]):
        name = f"{own}plan/{plan['attempt']}/shard-{shard:05d}.jsonl"
        of_plan = [line["key"] for line in _lines(objects, name)]
        of_ledger = [line["key"] for line in _lines(objects, f"{own}ledger/{shard:05d}.jsonl")]
        if of_plan != of_ledger:
            verdict.blame("wrong", 1, f"the ledger of shard {shard} is not in the order of its plan")
    for outcome in _lines(objects, f"{own}ledger/"):
        expected = _lasting(reference.outcomes.get(outcome["key"], {}))
        found = _lasting(outcome)
        if found["state"] == "skipped":  # another job's transcript was current
            found["state"] = "done"
        if "output" in found:
            etag, _ = objects.get(found["output"], ("none", b""))
            if found.pop("output_etag") != etag:
                verdict.blame("wrong", 1, f"{outcome['key']}: the ledger's ETag is not that of the transcript")
            expected.pop("output_etag", None)  # a confidence may differ
        if found != expected:
            kind = "lost" if expected.get("state") == "done" != found["state"] else "wrong"
            verdict.blame(kind, 1, f"{outcome['key']}: outcome {found}, undisturbed {expected}")


def _lasting(outcome: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in outcome.items() if name not in VOLATILE and not name.endswith("_seconds")}


def _transcripts(verdict: Verdict, objects: dict[str, tuple[str, bytes]], job: ChaosJob, reference: Reference) -> None:
    """Byte for byte those of the undisturbed run, in every format, and no others."""
    found = {key: body for key, (_, body) in objects.items() if not key.startswith("_transcription/")}
    missing = reference.objects.keys() - found.keys()
    verdict.blame("lost", len(missing), f"not there: {sorted(missing)[:5]}")
    more = found.keys() - reference.objects.keys()
    verdict.blame("wrong", len(more), f"left behind: {sorted(more)[:5]}")
    for key in found.keys() & reference.objects.keys():
        body, expected = found[key], reference.objects[key]
        if key.endswith(".json"):
            body, expected = _of_any_job(body), _of_any_job(expected)
            body = _with_confidence_of(expected, body)
        if body != expected:
            verdict.blame("wrong", 1, f"{key} is {body[:2000]!r}, undisturbed {expected[:2000]!r}")


def _of_any_job(body: bytes) -> bytes:
    name = json.dumps(json.loads(body)["provenance"]["job"]).encode()
    return body.replace(b'"job":' + name, b'"job":""')


def _with_confidence_of(expected: bytes, body: bytes) -> bytes:
    """The body with each confidence of the other that is as good as its own."""
    theirs = iter(_CONFIDENCE.findall(expected))

    def adopt(match: re.Match[bytes]) -> bytes:
        other = next(theirs, match[1])
        return b'"confidence":' + (other if abs(float(other) - float(match[1])) <= CONFIDENCE_STEP else match[1])

    return _CONFIDENCE.sub(adopt, body)


def _report(verdict: Verdict, objects: dict[str, tuple[str, bytes]], own: str) -> None:
    """Says what the ledgers say."""
    ledgers = list(_lines(objects, f"{own}ledger/"))
    if list(_lines(objects, f"{own}report/manifest.jsonl")) != ledgers:
        verdict.blame("wrong", 1, "report/manifest.jsonl is not what the ledgers say")
    summary = json.loads(objects.get(f"{own}report/summary.json", ("", b"{}"))[1])
    states = Counter(line["state"] for line in ledgers)
    said = {state: summary.get(state) for state in ("done", "skipped", "failed", "missing", "planned")}
    if said != {
        **{state: states[state] for state in ("done", "skipped", "failed")},
        "missing": 0,
        "planned": verdict.planned,
    }:
        verdict.blame("wrong", 1, f"report/summary.json says {said}, the ledgers {dict(states)}")
    if not objects.get(f"{own}report/index.html", ("", b""))[1].rstrip().endswith(b"</html>"):
        verdict.blame("wrong", 1, "report/index.html is missing or cut")


def _left_in_bucket(verdict: Verdict, objects: dict[str, tuple[str, bytes]], job: ChaosJob) -> None:
    uploads = job.server.client().list_multipart_uploads(Bucket=job.bucket).get("Uploads", [])
    mine = [upload["Key"] for upload in uploads if upload["Key"].startswith(f"{job.output}/")]
    verdict.blame("uploads_left", len(mine), f"multipart uploads: {mine}")
    for key, (_, body) in objects.items():
        inside = key.removeprefix("_transcription/")
        if PROBE.fullmatch(key):
            verdict.probes_left += 1
        elif inside != key and not OWN_OBJECTS.fullmatch(inside.partition("/")[2]):
            verdict.blame("bytes_left", len(body) or 1, f"left in the bucket: {key} of {len(body)} bytes")


def _left_on_disk(verdict: Verdict, job: ChaosJob) -> None:
    for path in job.job.scratch_files():
        size = path.lstat().st_size
        verdict.blame("bytes_left", max(size, 1), f"left in scratch: {path.name} of {size} bytes")
    for cache in job.folder.glob("cache*"):
        for path in (path for path in cache.rglob("*") if path.is_file()):
            if path.suffix not in (".nemo", ".lock"):
                verdict.blame("partials_left", 1, f"left in the cache: {path.name} of {path.stat().st_size} bytes")
            elif path.suffix == ".lock" and not _is_free(path):
                verdict.blame("locks_held", 1, f"{path.name} is locked")


def _is_free(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _left_in_memory(verdict: Verdict, job: ChaosJob) -> None:
    """Its scratch stands in the command line of every process of a job, or in the environment of what that started."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        command = command_line(int(entry.name))
        if str(job.folder) in environment + command:
            verdict.blame("processes_left", 1, f"process {entry.name} is left: {command}")


def _requests(verdict: Verdict, job: ChaosJob, requests: list[str]) -> None:
    """No transcript was committed twice, by the server's own account; and how long it was not asked for anything."""
    commits: Counter[str] = Counter()
    last: datetime | None = None
    for line in requests:
        if (match := _REQUEST.search(line)) is None:
            continue
        now = datetime.strptime(match["time"], "%d/%B/%Y:%H:%M:%S %z")
        if last is not None:
            verdict.silence_seconds = max(verdict.silence_seconds, (now - last).total_seconds())
        last = now
        key = unquote(match["path"]).removeprefix(f"/{job.bucket}/{job.output}/")
        is_commit = match["action"] == "PutObject" and match["status"] == "200" and key.endswith(".json")
        if is_commit and not key.startswith("_transcription/"):
            commits[key] += 1
    twice = [key for key, count in commits.items() if count > 1]
    verdict.blame("doubled", len(twice), f"committed more than once: {twice[:5]}")
