"""One small corpus for all tests with workers: the bucket, a gate before it, and what a job made of it. Free of pytest.

A gate lets so many recordings be read and holds the others back, so that a test meets workers in the middle, however
fast or slow the machine is.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.e2e.operating import keys_below, upload
from tests.jobs import TINY_CTC, Job
from tests.s3proxy import Fault, Pass, Pause, Request, faulty
from tests.s3server import S3Server
from tests.speech import make_recordings

RECORDINGS = 40
"""More than one worker takes up before it has read any: what is left is for a second one."""
PART_BYTES = 4000
"""What comes through of a recording that is held back: the answer's head and some of the audio."""
VOLATILE = {"worker", "finished", "attempts", "output_etag"}
"""Fields of an outcome that differ between two runs, beside the `*_seconds`."""


@dataclass(frozen=True)
class Corpus:
    """Recordings of short phrases and a tiny model, in one bucket of a server."""

    server: S3Server
    bucket: str
    names: frozenset[str]
    """Keys below `source`."""

    @property
    def source(self) -> str:
        return f"s3://{self.bucket}/in/"

    @property
    def model(self) -> str:
        return f"s3://{self.bucket}/models/tiny.nemo"

    def output(self, name: str) -> str:
        return f"s3://{self.bucket}/{name}/"

    def committed(self, name: str) -> dict[str, str]:
        """Recording -> ETag of its transcript, of those in the output `name`."""
        pages = self.server.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{name}/")
        listed = (item for page in pages for item in page.get("Contents", ()))
        found = {item["Key"].removeprefix(f"{name}/"): item["ETag"] for item in listed}
        return {
            key.removesuffix(".json"): etag for key, etag in found.items() if key.removesuffix(".json") in self.names
        }

    def transcripts(self, name: str) -> dict[str, Any]:
        """Recording -> its transcript without the name of the job that made it."""
        found = {}
        for recording in self.committed(name):
            transcript = json.loads(self.read(f"{name}/{recording}.json"))
            del transcript["provenance"]["job"]
            found[recording] = transcript
        return found

    def keys(self, name: str, part: str) -> set[str]:
        """Keys below a part of the jobs' folders in the output `name`, such as `claims/`, without the folder."""
        below = keys_below(self.server, self.bucket, f"{name}/_transcription/")
        return {key.partition(f"/{part}")[2] for key in below if f"/{part}" in key}

    def lines(self, name: str, job_id: str, part: str) -> list[dict[str, Any]]:
        """Every line of a file of JSON lines in a job's folder."""
        body = self.read(f"{name}/_transcription/{job_id}/{part}")
        return [json.loads(line) for line in body.decode().splitlines()]

    def read(self, key: str) -> bytes:
        return bytes(self.server.client().get_object(Bucket=self.bucket, Key=key)["Body"].read())


@dataclass
class Gate:
    """What a proxy before the store does to requests for recordings.

    Attributes:
        server: the store as pods reach it through the proxy.
        below: part of the path that all recordings have and nothing else.
    """

    server: S3Server
    lets: int
    below: str = "/in/"
    seen: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    _open: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _let: dict[str, threading.Event] = field(default_factory=dict)

    def open(self) -> None:
        """Everything goes on."""
        with self._lock:
            self._open.set()
            for event in self._let.values():
                event.set()

    def let(self, *recordings: str) -> None:
        """These go on."""
        with self._lock:
            for recording in recordings:
                self._event(recording).set()

    def __call__(self, request: Request, number: int) -> Fault:
        method, target, _ = request.line.split(" ", 2)
        path = unquote(urlsplit(target).path)
        recording = path.partition(self.below)[2]
        if method != "GET" or not recording:
            return Pass()
        with self._lock:
            if recording not in self.seen and len(self.seen) < self.lets:
                self.seen.add(recording)
            if self._open.is_set() or recording in self.seen or self._event(recording).is_set():
                return Pass()
            self.held.add(recording)
            return Pause(PART_BYTES, self._event(recording))

    def _event(self, recording: str) -> threading.Event:
        return self._let.setdefault(recording, threading.Event())


@cache
def corpus_on(server: S3Server) -> Corpus:
    """The corpus of a server, made by the first call."""
    bucket = "corpus"
    client = server.client()
    client.create_bucket(Bucket=bucket)
    client.put_object(Bucket=bucket, Key="models/tiny.nemo", Body=TINY_CTC.read_bytes())
    with TemporaryDirectory() as folder:
        made = make_recordings(Path(folder, "in"), RECORDINGS)
        upload(server, bucket, Path(folder, "in"), "in/")
    return Corpus(server, bucket, frozenset(made))


@cache
def undisturbed(corpus: Corpus) -> dict[str, Any]:
    """The transcripts of a run on this machine that nothing disturbs."""
    with TemporaryDirectory() as folder:
        job = Job.of(
            Path(folder),
            source=corpus.source,
            output=corpus.output("undisturbed"),
            environment=corpus.server.environment,
            model={"uri": corpus.model},
        )
        done = job.run()
        assert done.returncode == 0, done.stderr
    return corpus.transcripts("undisturbed")


@contextmanager
def gate_before(server: S3Server, lets: int, below: str = "/in/") -> Iterator[Gate]:
    """A gate that lets the first `lets` recordings through, open at the end."""
    gate = Gate(server, lets, below)
    with faulty(server.endpoint, gate, address=urlsplit(server.endpoint).hostname or "") as proxy:
        gate.server = replace(server, endpoint=proxy.endpoint)
        try:
            yield gate
        finally:
            gate.open()


def without_volatile(outcome: dict[str, Any]) -> dict[str, Any]:
    """What two runs over the same recordings must agree on."""
    return {name: value for name, value in outcome.items() if name not in VOLATILE and not name.endswith("_seconds")}
