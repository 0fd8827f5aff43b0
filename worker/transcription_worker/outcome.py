"""What became of one recording: the line of the ledger and of the report's manifest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from transcription_worker.errors import Reason


class State(StrEnum):
    DONE = "done"
    SKIPPED = "skipped"
    """A current transcript was there already."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One line of JSON; absent values are left out.

    `duration` is seconds of audio; `*_seconds` are wall time spent; `output` is the key of the .json transcript below
    the output location, `output_etag` its ETag where it is of this version of the recording, `model` and `options` the
    digests of what made it; `finished` is RFC 3339 UTC; `worker` is `<index>/<pod or pid>`.
    """

    key: str
    etag: str
    size: int
    state: State
    reason: Reason | None = None
    message: str | None = None
    output: str | None = None
    output_etag: str | None = None
    model: str | None = None
    options: str | None = None
    duration: float | None = None
    words: int | None = None
    attempts: int = 1
    worker: str | None = None
    finished: str | None = None
    fetch_seconds: float | None = None
    decode_seconds: float | None = None
    model_seconds: float | None = None
    commit_seconds: float | None = None

    def to_json(self) -> str:
        """One line without a line break."""
        present = {name: value for name in _FIELDS if (value := getattr(self, name)) is not None}
        return json.dumps(present, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> Outcome:
        fields = json.loads(line)
        fields["state"] = State(fields["state"])
        if fields.get("reason") is not None:
            fields["reason"] = Reason(fields["reason"])
        return cls(**fields)


_FIELDS = tuple(Outcome.__slots__)


def write_outcomes(outcomes: Iterable[Outcome]) -> bytes:
    """JSON Lines. A file name that is not UTF-8 is written with JSON's own escapes, and read back the same."""
    return "".join(f"{outcome.to_json()}\n" for outcome in outcomes).encode(errors="backslashreplace")


def read_outcomes(body: bytes) -> Iterator[Outcome]:
    return (Outcome.from_json(line) for line in body.decode().split("\n") if line)
