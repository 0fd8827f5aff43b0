"""The model of a job as a local file that was checked, before any toolkit opens it."""

from __future__ import annotations

import threading
from pathlib import Path

from transcription_worker.engines.toolkit import import_meanwhile
from transcription_worker.errors import ConfigurationError
from transcription_worker.fault_points import Point, reach
from transcription_worker.flow import Stopped
from transcription_worker.model_source import ModelSource
from transcription_worker.nemo_archive import check_archive
from transcription_worker.nemo_config import ArchiveInfo
from transcription_worker.progress import Progress
from transcription_worker.scratch import Scratch
from transcription_worker.time_use import Step


class ModelFile:
    """The model as a checked local file, brought when it is first needed: a job with nothing to do fetches no model."""

    def __init__(self, source: ModelSource, label: str, cache: Path, scratch: Scratch, progress: Progress) -> None:
        self._source = source
        self._label = label
        self._cache = cache
        self._scratch = scratch
        self._progress = progress
        self._lock = threading.Lock()
        self._archive: tuple[Path, ArchiveInfo] | None = None
        self._importing = False

    def archive(self) -> tuple[Path, ArchiveInfo]:
        """Fetch and check once. While it arrives the toolkit is imported.

        Raises:
            ConfigurationError: it is no model that can be used.
            Stopped: the worker ends, and nobody will need it.
        """
        with self._lock:
            if self._archive is None:
                self._go_on()
                with self._progress.time_use.doing(Step.START):
                    self._archive = self._bring()
            return self._archive

    def _bring(self) -> tuple[Path, ArchiveInfo]:
        path = self._source.fetch(self._cache, self._scratch, self._arrived)
        try:
            return path, check_archive(path)
        except ConfigurationError as error:  # which knows the file in the cache, and not what was asked for
            raise ConfigurationError(f"The model {self._label} cannot be used: {error}") from None

    def _arrived(self, size: int) -> None:
        if size:
            reach(Point.MODEL_CHUNK)
        self._go_on()
        if not self._importing:
            self._importing = True
            import_meanwhile()

    def _go_on(self) -> None:
        if self._progress.ending:
            raise Stopped
