"""Which objects are recordings: the listing of a prefix, or the lines of a manifest."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

from transcription_worker.errors import ConfigurationError, Reason, RecordingError
from transcription_worker.layout import JOBS_PREFIX
from transcription_worker.plan import Recording
from transcription_worker.store.protocol import ObjectInfo, Store

MANIFEST_KEYS = ("key", "uri", "audio_filepath")
"""Fields that may name the recording of a line; `audio_filepath` is what NeMo manifests call it."""


def from_listing(
    store: Store, matches: Callable[[str], bool], *, output_below: str | None = None
) -> Iterator[Recording | None]:
    """Every object below the input; None for one that is no recording.

    Args:
        matches: whether a key is wanted (include, exclude, known extensions).
        output_below: the output location's key below the input, where it lies there: transcripts are no input.
    """
    for info in store.scan():
        if output_below is not None and info.key.startswith(output_below):
            continue
        if info.key.endswith("/") and info.size == 0:
            continue  # the folder markers of S3 consoles
        yield Recording(info.key, info.etag, info.size) if matches(info.key) else None


def output_below_input(input_uri: str, output_uri: str) -> str | None:
    """The part of the input's keys that belongs to the output, or None where the output lies elsewhere."""
    root, below = _canonical(input_uri), _canonical(output_uri)
    if below == root:
        return JOBS_PREFIX
    return below[len(root) :] if below.startswith(root) else None


def _canonical(uri: str) -> str:
    """One spelling of a location, ending in a slash."""
    if uri.startswith("s3://"):
        return uri.rstrip("/") + "/"
    return str(Path(unquote(uri.removeprefix("file://"))).expanduser().resolve()).rstrip("/") + "/"


def from_manifest(store: Store, name: str) -> Iterator[Recording | None]:
    """The recordings of a JSON Lines manifest, in its own folder or below it.

    Args:
        store: the folder of the manifest; keys of the recordings are relative to it.
        name: the manifest's key in the store.

    Raises:
        ConfigurationError: a line that cannot be read, with its number and the mend.
    """
    keys = _manifest_keys(store, name)
    with ThreadPoolExecutor(32, "manifest") as pool:
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


def _read(store: Store, name: str) -> str:
    try:
        return store.get(name).decode(errors="replace")
    except RecordingError as error:
        if error.reason is not Reason.NOT_FOUND:
            raise
        raise ConfigurationError(f"{store.uri}/{name} does not exist: correct spec.input.manifest.") from None


def _manifest_keys(store: Store, name: str) -> Iterator[str]:
    seen: set[str] = set()
    where = f"{store.uri}/{name}"
    for number, line in enumerate(_read(store, name).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            fault = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else "too deep"
            raise ConfigurationError(
                f'Line {number} of {where} is not JSON ({fault}): write one object such as {{"key": "a.wav"}} a line.'
            ) from None
        value = entry if isinstance(entry, str) else None
        if isinstance(entry, dict):
            value = next((entry[k] for k in MANIFEST_KEYS if isinstance(entry.get(k), str)), None)
        if not value:
            raise ConfigurationError(
                f"Line {number} of {where} names no recording: give it one of the fields {', '.join(MANIFEST_KEYS)}."
            )
        key = _relative(value, store.uri, f"Line {number} of {where}")
        if key not in seen:
            seen.add(key)
            yield key


def _relative(value: str, folder: str, line: str) -> str:
    root = folder.rstrip("/") + "/"
    if value.startswith(root):
        value = value[len(root) :]
    outside = "://" in value or value.startswith("/") or ".." in posixpath.normpath(value).split("/")
    if outside:
        raise ConfigurationError(
            f"{line} names {value!r}, which is not below {root}: put the manifest into a folder above its recordings."
        )
    return value.removeprefix("./")
