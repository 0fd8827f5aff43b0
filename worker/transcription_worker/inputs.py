"""Which objects below a prefix are recordings. What a manifest names: `input_manifest.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

from transcription_worker.layout import JOBS_PREFIX
from transcription_worker.plan import Recording
from transcription_worker.store.protocol import Store


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
        # What an earlier job, or somebody in its name, put where jobs keep their own is never a recording: its
        # transcript would stand among plans and ledgers.
        wanted = matches(info.key) and not info.key.startswith(JOBS_PREFIX)
        yield Recording(info.key, info.etag, info.size) if wanted else None


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
