"""An S3 server that answers at once: what a listing or a plan costs by itself, with a store that costs nothing.

It holds objects in memory and speaks as much of the protocol as plan and report need: ListObjectsV2, GET, HEAD, DELETE,
PUT with conditions, uploads in parts and their listing. It checks no signature. Correctness against S3 is shown
elsewhere, on a real server; this one also counts requests by kind (GET /bucket/.requests).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import uuid
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from transcription_worker.formats import render
from transcription_worker.transcript import ChannelTranscript, Provenance, Segment, Source, Transcript, Word

PAGE = 1000
WORDS = tuple(Word("word", n / 3, n / 3 + 0.2, 0.9) for n in range(60))
SEGMENT = Segment(0.0, 20.0, " ".join(word.text for word in WORDS), 0.9, WORDS)
TRANSCRIPT = render(
    Transcript(
        Source("s3://calls/in/a.flac", "a.flac", "e", 400_000, 22.5, 16_000, 1, "flac"),
        Provenance("first-00000000", "m", "s3:model", "o", "nemo", "bench", "float32"),
        (ChannelTranscript(None, (SEGMENT,)),),
    ),
    ["json"],
)["json"]
"""The body of whatever was not put."""
DATE = "2026-11-24T00:00:00.000Z"


@dataclass
class Bucket:
    """Keys with ETag and size; only what was put has a body."""

    entries: dict[str, tuple[str, int]] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    stale: bool = True

    def keys(self) -> list[str]:
        if self.stale:
            self.order = sorted(self.entries)
            self.stale = False
        return self.order

    def put(self, key: str, body: bytes) -> str:
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        self.stale = self.stale or key not in self.entries
        self.entries[key] = (etag, len(body))
        self.bodies[key] = body
        return etag

    def list(self, query: dict[str, str]) -> str:
        """A page of ListObjectsV2; the token is the last key, or the last folder, of the page before."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        keys = self.keys()
        behind = query.get("continuation-token") or query.get("start-after", "")
        place = max(bisect_left(keys, prefix), bisect_right(keys, behind))
        if delimiter and behind.endswith(delimiter):  # a folder: behind everything in it
            place = max(place, bisect_left(keys, behind + "\U0010ffff"))
        parts: list[str] = []
        last = ""
        while place < len(keys) and keys[place].startswith(prefix) and len(parts) < PAGE:
            key = keys[place]
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                last = key[: cut + 1]
                parts.append(f"<CommonPrefixes><Prefix>{escape(last)}</Prefix></CommonPrefixes>")
                place = bisect_left(keys, last + "\U0010ffff")
                continue
            etag, size = self.entries[key]
            parts.append(
                f"<Contents><Key>{escape(key)}</Key><LastModified>{DATE}</LastModified><ETag>&quot;{etag}&quot;</ETag>"
                f"<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            )
            last = key
            place += 1
        more = place < len(keys) and keys[place].startswith(prefix)
        token = f"<NextContinuationToken>{escape(last)}</NextContinuationToken>" if more else ""
        return (
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{''.join(parts)}</ListBucketResult>"
        )


@dataclass
class Stub:
    """Buckets by name, and how often they were asked for what."""

    buckets: dict[str, Bucket] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    """Parts by number, by upload."""


def handler_of(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = 1 << 16

        def handle_expect_100(self) -> bool:
            self.send_response_only(100)
            self.end_headers()
            self.wfile.flush()  # a client waits a second for it
            return True

        def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", headers.pop("length", str(len(body))))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def error(self, status: int, code: str) -> None:
            self.answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

        def where(self) -> tuple[Bucket, str, dict[str, str]]:
            parts = urlsplit(self.path)
            bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
            query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            return stub.buckets.setdefault(bucket, Bucket()), key, query

        def do_GET(self) -> None:
            bucket, key, query = self.where()
            if key == ".requests":
                self.answer(200, json.dumps(stub.requests).encode())
                return
            if not key:
                stub.requests["LIST"] += 1
                empty = "<ListMultipartUploadsResult/>"
                self.answer(200, (empty if "uploads" in query else bucket.list(query)).encode())
                return
            stub.requests[self.command] += 1
            if key not in bucket.entries:
                self.error(404, "NoSuchKey")
                return
            etag, size = bucket.entries[key]
            body = bucket.bodies.get(key, TRANSCRIPT)
            length = str(size if self.command == "HEAD" else len(body))
            self.answer(200, body, ETag=f'"{etag}"', length=length, **bucket.metadata.get(key, {}))

        do_HEAD = do_GET

        def do_PUT(self) -> None:
            bucket, key, query = self.where()
            stub.requests["PUT"] += 1
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if upload := query.get("uploadId"):
                stub.uploads[upload][int(query["partNumber"])] = body
                self.answer(200, ETag=f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"')
                return
            there = bucket.entries.get(key)
            match = self.headers.get("If-Match")
            if (self.headers.get("If-None-Match") and there) or (match and (not there or match.strip('"') != there[0])):
                self.error(412, "PreconditionFailed")
                return
            own = {name: value for name, value in self.headers.items() if name.lower().startswith("x-amz-meta-")}
            bucket.metadata[key] = own
            self.answer(200, ETag=f'"{bucket.put(key, body)}"')

        def do_POST(self) -> None:
            """Begins an upload in parts, or completes it, whole and in order."""
            bucket, key, query = self.where()
            stub.requests["POST"] += 1
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            if "uploads" in query:
                upload = uuid.uuid4().hex
                stub.uploads[upload] = {}
                name = "InitiateMultipartUploadResult"
                told = f"<UploadId>{upload}</UploadId>"
            else:
                parts = stub.uploads.pop(query["uploadId"])
                name = "CompleteMultipartUploadResult"
                told = f"<ETag>{bucket.put(key, b''.join(parts[number] for number in sorted(parts)))}</ETag>"
            self.answer(200, f"<{name}>{told}</{name}>".encode())

        def do_DELETE(self) -> None:
            bucket, key, query = self.where()
            stub.requests["DELETE"] += 1
            if upload := query.get("uploadId"):
                stub.uploads.pop(upload, None)
                self.answer(204)
                return
            bucket.stale = bucket.entries.pop(key, None) is not None or bucket.stale
            bucket.bodies.pop(key, None)
            self.answer(204)

        def log_message(self, *args: object) -> None:
            pass

    return Handler


def finished_bucket(count: int, folders: int) -> Stub:
    """`count` recordings in bucket `calls`, and in `texts` the json and srt of each and the ledgers of the job."""
    calls, texts = Bucket(), Bucket()
    ledger: list[str] = []
    for number in range(count):
        key = f"{number % folders:05d}/{number:08d}.flac"
        source, output = f"{number:032x}-1", f"{number + count:032x}-1"  # as of uploads in parts: no digests
        calls.entries[f"in/{key}"] = (source, 400_000 + number % 1000)
        texts.entries[f"out/{key}.json"] = (output, 4000)
        texts.entries[f"out/{key}.srt"] = (source, 700)
        ledger.append(
            json.dumps(
                {
                    "key": key, "etag": source, "size": 400_000 + number % 1000, "state": "done",
                    "output": f"{key}.json", "output_etag": output, "model": "s3:model", "options": "@options@",
                    "duration": 22.5, "words": 60, "worker": "0/pod", "finished": DATE,
                    "fetch_seconds": 0.1, "decode_seconds": 0.1, "model_seconds": 0.1, "commit_seconds": 0.1,
                }
            )
        )  # fmt: skip
    for shard, start in enumerate(range(0, count, PAGE)):
        body = "\n".join(ledger[start : start + PAGE]) + "\n"
        texts.put(f"out/_transcription/first-00000000/ledger/{shard:05d}.jsonl", body.encode())
    return Stub({"calls": calls, "texts": texts})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--folders", type=int, required=True)
    parser.add_argument("--options", required=True, help="the digest of the options that ledgers speak of")
    args = parser.parse_args()
    stub = finished_bucket(args.count, args.folders)
    texts = stub.buckets["texts"]
    for key, body in list(texts.bodies.items()):
        texts.put(key, body.replace(b"@options@", args.options.encode()))
    for bucket in stub.buckets.values():
        bucket.keys()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(stub))
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
