"""The recordings that a JSON Lines manifest names, however many. What is a recording below a prefix: `inputs.py`.

The whole manifest is read and checked before the store is asked for the first recording: a fault in its last line costs
seconds, not the hours that a million answers take. Memory is flat: keys are spread over scratch files by their hash, so
that each file can be freed of doubled keys by itself.
"""

from __future__ import annotations

import codecs
import json
import posixpath
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO

from transcription_worker.errors import ConfigurationError, Reason, RecordingError, printable
from transcription_worker.layout import JOBS_PREFIX
from transcription_worker.plan import Recording
from transcription_worker.scratch import Scratch
from transcription_worker.store.protocol import ObjectInfo, Store

MANIFEST_KEYS = ("key", "uri", "audio_filepath")
"""Fields that may name the recording of a line; `audio_filepath` is what NeMo manifests call it."""

MAX_LINE_BYTES = 1 << 20
"""A key has 1,024 bytes at most; the rest is what NeMo manifests say of a recording, its text among it."""

PART_BYTES = 4 << 20
"""Of the manifest, whose keys then take about ten times as much memory while one part is freed of doubles."""
MAX_PARTS = 256

EXAMPLE = 'write one object such as {"key": "a.wav"} a line'


def from_manifest(store: Store, name: str, scratch: Scratch) -> Iterator[Recording]:
    """The recordings of a manifest, in its own folder or below it, each once. One that is not there has no ETag.

    Args:
        store: the folder of the manifest; keys of the recordings are relative to it.
        name: the manifest's key in the store.

    Raises:
        ConfigurationError: a line that cannot be read, with its number and the mend.
    """
    with ExitStack() as open_files, ThreadPoolExecutor(32, "manifest") as pool:
        for part in _spread(store, name, scratch, open_files):
            part.seek(0)
            keys = iter(dict.fromkeys(json.loads(line) for line in part))
            while page := list(islice(keys, 1000)):
                for key, info in zip(page, pool.map(partial(_look, store), page), strict=True):
                    yield Recording(key, info.etag, info.size) if info else Recording(key, "", 0)


def _look(store: Store, key: str) -> ObjectInfo | None:
    """None also for what cannot be looked at: the worker will say why, of this one recording."""
    try:
        return store.head(key)
    except RecordingError as error:
        if error.retryable:
            raise
        return None


def _spread(store: Store, name: str, scratch: Scratch, open_files: ExitStack) -> list[IO[bytes]]:
    """Every key of the manifest as one line of JSON in the file of its hash."""
    with _as_file(store, name, scratch) as path, path.open("rb") as manifest:
        count = min(MAX_PARTS, 1 + path.stat().st_size // PART_BYTES)
        parts: list[IO[bytes]] = [
            open_files.enter_context(open_files.enter_context(scratch.file("jsonl")).open("w+b")) for _ in range(count)
        ]
        for key in _keys(manifest, store.uri, name):
            line = json.dumps(key).encode()
            parts[zlib.crc32(line) % count].write(line + b"\n")
    return parts


@contextmanager
def _as_file(store: Store, name: str, scratch: Scratch) -> Iterator[Path]:
    """The manifest on disk, as it was when it was asked for."""
    found = store.head(name)
    if found is None:
        raise ConfigurationError(f"{store.uri}/{name} does not exist: correct spec.input.manifest.")
    local = store.local_path(name)
    if local is not None:
        yield local
        return
    with scratch.file("jsonl") as path:
        try:
            store.fetch(name, found.etag, path)
        except RecordingError as error:
            if error.reason is Reason.CHANGED:
                raise RecordingError(error.reason, error.message, retryable=True) from None
            raise
        yield path


def _keys(manifest: IO[bytes], folder: str, name: str) -> Iterator[str]:
    where = f"{folder}/{name}"
    for number, line in enumerate(iter(partial(manifest.readline, MAX_LINE_BYTES + 1), b""), start=1):
        place = f"Line {number} of {where}"
        if len(line) > MAX_LINE_BYTES:
            raise ConfigurationError(f"{place} is longer than {MAX_LINE_BYTES >> 20} MiB: {EXAMPLE}.")
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if line.strip():
            yield _relative(_named(_parsed(line, place), place), folder, place)


def _parsed(line: bytes, place: str) -> object:
    try:
        return json.loads(line.decode())
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{place} is not JSON ({error.msg} at column {error.colno}): {EXAMPLE}.") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{place} is not UTF-8: save the manifest as UTF-8 text, and {EXAMPLE}.") from None
    except (RecursionError, ValueError) as error:
        fault = "too deep" if isinstance(error, RecursionError) else "a number of too many digits"
        raise ConfigurationError(f"{place} is not JSON ({fault}): {EXAMPLE}.") from None


def _named(entry: object, place: str) -> str:
    value = entry if isinstance(entry, str) else None
    if isinstance(entry, dict):
        value = next((entry[k] for k in MANIFEST_KEYS if isinstance(entry.get(k), str)), None)
    if not value:
        raise ConfigurationError(f"{place} names no recording: give it one of the fields {', '.join(MANIFEST_KEYS)}.")
    return value


def _relative(value: str, folder: str, place: str) -> str:
    root = folder.rstrip("/") + "/"
    key = value.removeprefix(root).removeprefix("./")
    # Some servers keep their objects in directories, and walk the dots of a key.
    walked = posixpath.normpath(key)
    if "://" in key or key.startswith("/") or walked == "." or ".." in walked.split("/"):
        raise ConfigurationError(
            f"{place} names {_quoted(value)}, which is not below {root}: put the manifest into a folder above its "
            "recordings."
        )
    if walked.startswith(JOBS_PREFIX):
        raise ConfigurationError(
            f"{place} names {_quoted(value)}: what lies in {JOBS_PREFIX} belongs to jobs; move the recording elsewhere."
        )
    return key


def _quoted(value: str) -> str:
    """On one line, and no longer than a line needs to be."""
    return repr(printable(value if len(value) <= 200 else f"{value[:199]}…"))
