"""Manifests in, jobs or sentences out: the only way from a file to a `TranscriptionJob`.

All faults of a manifest are found at once. How an error of a field becomes a sentence stands in `faults.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from transcription_api.job import TranscriptionJob


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a manifest.

    `path` is the field (`spec.input.include[0]`, "" for the manifest itself), `line` its 1-based line where known,
    `message` says what is wrong, `mend` what to write instead.
    """

    path: str
    message: str
    mend: str
    line: int | None = None

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{where}{self.message}; {self.mend}"


class ManifestError(Exception):
    """The manifest is no TranscriptionJob; `faults` says why, in the order of the text."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


def load_manifest(source: str | Path, *, local: bool) -> TranscriptionJob:
    """Read one TranscriptionJob.

    Args:
        source: a file, or the manifest's text (YAML or JSON): a `str` of one line that is not JSON names a file.
        local: whether it is to run on this machine, where paths may stand for URIs.

    Raises:
        ManifestError: with every fault.
    """
    job, faults = _read(source, local=local)
    if job is None:
        raise ManifestError(faults)
    return job


def validate_manifest(source: str | Path, local: bool) -> list[Fault]:
    """Every fault of a manifest, in the order of its text; none for one that `load_manifest` would load."""
    return _read(source, local=local)[1]


def _read(source: str | Path, *, local: bool) -> tuple[TranscriptionJob | None, list[Fault]]:
    from transcription_api.faults import parse_job
    from transcription_api.manifest_text import TextError, read_document

    try:
        document = read_document(source if _is_text(source) else _read_text(Path(source)))
    except TextError as error:
        return None, [Fault("", error.problem, error.mend)]
    return parse_job(document, local=local)


def _is_text(source: str | Path) -> TypeGuard[str]:
    return isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{") or not source.strip())


def _read_text(path: Path) -> str:
    from transcription_api.manifest_text import MAX_BYTES, TextError

    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise TextError(f"{path} is not UTF-8 text", "save the manifest as UTF-8") from None
    except OSError as error:
        raise TextError(f"{path} cannot be read: {error.strerror}", "name a readable manifest") from None
