"""What can go wrong, once: reasons, exit codes and the small tree of exceptions.

Everything that fails raises one of these; they are mapped to ledger entries in `outcome.py` and to
exit codes here. Nothing else in the worker invents a reason.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum, StrEnum
from functools import partial


class ExitCode(IntEnum):
    """Exit codes of every entry point (the pod failure policy of the operator reads them)."""

    OK = 0
    """All recordings are settled, also where some of them failed."""
    FAILED = 1
    """`transcription run`: more recordings failed than `failurePolicy.maxFailedRecordings` allows. Elsewhere: a fault
    of the software."""
    INVALID_MANIFEST = 2
    RETRYABLE = 75
    """EX_TEMPFAIL: worth another attempt."""
    CONFIGURATION = 78
    """EX_CONFIG: no attempt can succeed before a person changes something."""
    INTERRUPTED = 130
    DRAINED = 143
    """SIGTERM: the work in flight was finished and recorded, the rest is left for a successor."""


class Reason(StrEnum):
    """Why a recording has no transcript. The fixed list of ledger and report."""

    NOT_FOUND = "NotFound"
    ACCESS_DENIED = "AccessDenied"
    CHANGED = "Changed"
    EMPTY = "Empty"
    UNSUPPORTED_FORMAT = "UnsupportedFormat"
    CORRUPT = "Corrupt"
    TRUNCATED = "Truncated"
    TOO_LONG = "TooLong"
    CHANNEL_MISSING = "ChannelMissing"
    TIMEOUT = "Timeout"
    DECODER_CRASHED = "DecoderCrashed"
    OUT_OF_MEMORY = "OutOfMemory"
    NO_SPACE = "NoSpace"
    MODEL_ERROR = "ModelError"
    STORE_ERROR = "StoreError"
    OUTPUT_TAKEN = "OutputTaken"
    WORKER_LOST = "WorkerLost"
    INTERNAL = "Internal"


RETRYABLE_REASONS = frozenset(
    {
        Reason.TIMEOUT,
        Reason.DECODER_CRASHED,
        Reason.OUT_OF_MEMORY,
        Reason.NO_SPACE,
        Reason.MODEL_ERROR,
        Reason.STORE_ERROR,
        Reason.INTERNAL,
    }
)


class TranscriptionError(Exception):
    """Base of every error that this worker raises on purpose. `str(error)` is one sentence for people."""


class ConfigurationError(TranscriptionError):
    """The job cannot work as it is written (wrong secret, missing bucket, not a model): exit 78."""


class RetryableError(TranscriptionError):
    """The whole process should be tried again later (store away, listing interrupted): exit 75."""


class ClockError(RetryableError):
    """This machine's clock is too far off for the store: waiting here does not help, another machine may do better."""


class RecordingError(TranscriptionError):
    """One recording failed; the others go on.

    Args:
        reason: one of the fixed list.
        message: one sentence: what, where, what to do.
        retryable: overrides the default of the reason.
    """

    def __init__(self, reason: Reason, message: str, *, retryable: bool | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retryable = reason in RETRYABLE_REASONS if retryable is None else retryable

    def __reduce__(self) -> tuple[Callable[[], RecordingError], tuple[()]]:
        """As pickle needs it, for an error that comes from another process."""
        return partial(RecordingError, self.reason, self.message, retryable=self.retryable), ()


class PreconditionFailed(TranscriptionError):
    """A conditional write lost: the key exists already, or is no longer the version that was expected."""


def exit_code(error: TranscriptionError) -> ExitCode:
    """A passing failure of the store is worth another attempt, whichever object it met."""
    passing = isinstance(error, RetryableError | PreconditionFailed)
    if isinstance(error, RecordingError):
        passing = error.retryable
    return ExitCode.RETRYABLE if passing else ExitCode.CONFIGURATION


def printable(text: str) -> str:
    """A text in which every control character is written out, as `\\x1b` is: safe for a terminal and for one line."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
