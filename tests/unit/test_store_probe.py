"""The probe of conditional writes, against stores that fail in the ways real ones do."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from transcription_worker.errors import PreconditionFailed, Reason, RecordingError
from transcription_worker.store.local import LocalStore
from transcription_worker.store.probe import conditions_hold
from transcription_worker.store.protocol import Condition, IfAbsent, IfMatch


class Conditionless(LocalStore):
    """Passes over every condition, as old compatible stores do."""

    def put(
        self,
        key: str,
        body: bytes | Path,
        *,
        content_type: str = "",
        metadata: Mapping[str, str] | None = None,
        condition: Condition = None,
    ) -> str:
        return super().put(key, body, condition=self.honoured(condition))

    def honoured(self, condition: Condition) -> Condition:
        return None


class OnlyIfAbsent(Conditionless):
    def honoured(self, condition: Condition) -> Condition:
        return None if isinstance(condition, IfMatch) else condition


class NotImplementing(Conditionless):
    def honoured(self, condition: Condition) -> Condition:
        if condition is not None:
            raise RecordingError(Reason.STORE_ERROR, "A header is not implemented.", retryable=False)
        return None


class Away(Conditionless):
    def honoured(self, condition: Condition) -> Condition:
        raise RecordingError(Reason.STORE_ERROR, "The store is away.")


class LookingBeforeWriting(Conditionless):
    """Looks whether the key is there, and then writes: right for one writer, wrong for several (Swift's s3api)."""

    def __init__(self, root: Path, uri: str) -> None:
        super().__init__(root, uri)
        self._looked = threading.Barrier(8)

    def put(
        self,
        key: str,
        body: bytes | Path,
        *,
        content_type: str = "",
        metadata: Mapping[str, str] | None = None,
        condition: Condition = None,
    ) -> str:
        found = self.head(key)
        if isinstance(condition, IfAbsent) and found is not None:
            raise PreconditionFailed("exists")
        if isinstance(condition, IfMatch) and (found is None or found.etag != condition.etag):
            raise PreconditionFailed("changed")
        if threading.current_thread() is not threading.main_thread():
            self._looked.wait(10)
        return LocalStore.put(self, key, body)


def files_below(root: Path) -> set[str]:
    return {path.name for path in root.rglob("*") if path.is_file()}


def test_a_store_that_honours_conditions_passes(tmp_path: Path) -> None:
    assert conditions_hold(LocalStore(tmp_path, "x"))


@pytest.mark.parametrize("kind", [Conditionless, OnlyIfAbsent, NotImplementing, LookingBeforeWriting])
def test_a_store_that_does_not_is_found_out_and_left_clean(kind: type[LocalStore], tmp_path: Path) -> None:
    assert not conditions_hold(kind(tmp_path, "x"))
    assert files_below(tmp_path) <= {".lock"}


def test_a_store_that_is_away_is_not_judged(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="away"):
        conditions_hold(Away(tmp_path, "x"))
