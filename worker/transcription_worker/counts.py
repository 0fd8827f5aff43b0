"""Sums over outcomes that are small enough to send around: counts, and the first failures with bounded texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from transcription_worker.outcome import Outcome, State

MAX_FAILURES = 10
"""So many failures are told while a job runs and in its status; all of them are in the report."""
KEY_LENGTH = 1024
"""What S3 allows for a key, in bytes; the API's status allows as many characters."""
MESSAGE_LENGTH = 1024


@dataclass(slots=True)
class Counts:
    """How many recordings were settled how; `bytes` of all of them, `audio_seconds` of those that are done."""

    done: int = 0
    skipped: int = 0
    failed: int = 0
    bytes: int = 0
    audio_seconds: float = 0.0

    def add(self, outcome: Outcome) -> None:
        self.bytes += outcome.size
        match outcome.state:
            case State.DONE:
                self.done += 1
                self.audio_seconds += outcome.duration or 0.0
            case State.SKIPPED:
                self.skipped += 1
            case State.FAILED:
                self.failed += 1

    def include(self, other: Counts) -> None:
        self.done += other.done
        self.skipped += other.skipped
        self.failed += other.failed
        self.bytes += other.bytes
        self.audio_seconds += other.audio_seconds


@dataclass(frozen=True, slots=True)
class Failure:
    """One recording without a transcript, with texts that fit into a status."""

    key: str
    reason: str
    message: str

    @classmethod
    def of(cls, outcome: Outcome) -> Self:
        message = outcome.message or ""
        return cls(outcome.key[:KEY_LENGTH], str(outcome.reason or ""), message[:MESSAGE_LENGTH])
