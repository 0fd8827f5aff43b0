"""The commit of a transcript: other formats first, the .json last, by one conditional PUT.

The .json's object metadata says of what it is the transcript, so that resume and `overwrite: IfChanged` need no body.
Where a store keeps no metadata (a directory) the same facts are read from the body.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from transcription_worker.errors import PreconditionFailed, Reason, RecordingError
from transcription_worker.fault_points import Point, reach
from transcription_worker.formats import CONTENT_TYPES, from_json, render, render_stored
from transcription_worker.layout import output_key
from transcription_worker.plan import Recording, Standing
from transcription_worker.store.protocol import Condition, IfAbsent, IfMatch, Store
from transcription_worker.transcript import Transcript

log = logging.getLogger(__name__)


MAX_TRANSCRIPT_BYTES = 256 << 20
"""What is larger is not read to see whether it is one: a week of speech makes half of that."""
_FORMAT_SUFFIX = re.compile(r"(?P<channel>ch\d+\.)?(?P<format>txt|srt|vtt|ctm)")


class Overwrite(StrEnum):
    NEVER = "Never"
    IF_CHANGED = "IfChanged"
    ALWAYS = "Always"


@dataclass(frozen=True, slots=True)
class Committed:
    """What a committed .json says of itself; `etag` is the .json's own."""

    etag: str
    job: str
    source_etag: str
    model: str
    options: str
    duration: float
    words: int
    formats: tuple[str, ...]

    @property
    def is_foreign(self) -> bool:
        """Not one of our transcripts, though it stands where one would."""
        return not self.source_etag

    @property
    def is_sound(self) -> bool:
        """Whether every field is of its kind: somebody may have written it by hand."""
        texts = (self.job, self.source_etag, self.model, self.options)
        return all(isinstance(text, str) for text in texts) and math.isfinite(self.duration)

    def to_metadata(self) -> dict[str, str]:
        return {
            "job": self.job,
            "source-etag": self.source_etag,
            "model-digest": self.model,
            "options-digest": self.options,
            "duration": f"{self.duration:.3f}",
            "words": str(self.words),
            "formats": ",".join(self.formats),
        }

    @classmethod
    def from_metadata(cls, etag: str, metadata: Mapping[str, str]) -> Committed:
        return cls(
            etag=etag,
            job=metadata.get("job", ""),
            source_etag=metadata.get("source-etag", ""),
            model=metadata.get("model-digest", ""),
            options=metadata.get("options-digest", ""),
            duration=float(metadata.get("duration", "0")),
            words=int(metadata.get("words", "0")),
            formats=tuple(filter(None, metadata.get("formats", "").split(","))),
        )

    @classmethod
    def earlier(cls, recording: Recording, standing: Standing) -> Committed:
        """What the plan has proven of an earlier job's commit. Its formats are there."""
        return cls(
            etag=standing.etag,
            job="",
            source_etag=standing.source or recording.etag,
            model=standing.model,
            options=standing.options,
            duration=standing.duration,
            words=standing.words,
            formats=(),
        )

    @classmethod
    def of(cls, transcript: Transcript, etag: str, formats: Sequence[str]) -> Committed:
        return cls(
            etag=etag,
            job=transcript.provenance.job,
            source_etag=transcript.source.etag,
            model=transcript.provenance.model_digest,
            options=transcript.provenance.options_digest,
            duration=transcript.source.duration,
            words=count_words(transcript),
            formats=tuple(formats),
        )


def _read(body: bytes) -> Transcript:
    """Raises ValueError: it is none."""
    try:
        return from_json(body)
    except RecordingError as error:
        raise ValueError(error.message) from None


def count_words(transcript: Transcript) -> int:
    return len(transcript.text.split())


class Committer:
    """Finds and makes commits below one output location."""

    def __init__(
        self,
        store: Store,
        *,
        job_id: str,
        model_digest: str,
        options_digest: str,
        formats: Sequence[str],
        overwrite: Overwrite,
        conditional_writes: bool,
    ) -> None:
        self._store = store
        self._job_id = job_id
        self._model_digest = model_digest
        self._options_digest = options_digest
        self._formats = tuple(dict.fromkeys(("json", *formats)))
        self._overwrite = overwrite
        self._conditional = conditional_writes

    def find(self, key: str) -> Committed | None:
        """The commit that stands for a recording, in one request; None where there is none."""
        info = self._store.head(output_key(key, "json"))
        if info is None:
            return None
        somebody_elses = Committed.from_metadata(info.etag, {})  # never current, replaced by ETag
        try:
            if info.metadata.get("source-etag"):
                found = Committed.from_metadata(info.etag, info.metadata)
            elif info.size > MAX_TRANSCRIPT_BYTES:
                return somebody_elses
            else:
                body = self._store.get(output_key(key, "json"))
                found = Committed.of(_read(body), info.etag, ())
            return found if found.is_sound else somebody_elses
        except (ValueError, TypeError):
            return somebody_elses

    def is_current(self, found: Committed, source_etag: str) -> bool:
        """Whether the commit that stands makes work on the recording needless."""
        if self._overwrite is Overwrite.NEVER or self.is_own(found, source_etag):
            return True
        return self._overwrite is Overwrite.IF_CHANGED and (found.source_etag, found.model, found.options) == (
            source_etag,
            self._model_digest,
            self._options_digest,
        )

    def is_own(self, found: Committed, source_etag: str) -> bool:
        """Whether this very job made the commit (a worker that died, or another that was faster)."""
        return found.job == self._job_id and found.source_etag == source_etag

    def add_missing_formats(self, key: str, found: Committed) -> list[str]:
        """Render formats that were not asked for when the transcript was made, or are gone; the model is not run again.

        What an earlier job wrote may have been deleted since, or removed by one that began to replace it.
        """
        if found.is_foreign:
            return []
        others = [f for f in self._formats if f != "json"]
        new = [f for f in others if found.formats and f not in found.formats]
        gone = self._gone(key, [f for f in others if f not in new], found)
        if not new and not gone:
            return []
        body = self._store.get(output_key(key, "json"))
        rendered = self._write_formats(key, body, [*new, *gone])
        if new:
            complete = replace(found, formats=(*found.formats, *new))
            # Another worker that did the same is no harm: the formats are there.
            with contextlib.suppress(PreconditionFailed):
                condition = IfMatch(found.etag) if self._conditional else None
                self._put(key, "json", body, metadata=complete.to_metadata(), condition=condition)
        log.info("rendered %s of %s from its committed transcript", ", ".join(rendered), key)
        return rendered

    def restore_formats(self, key: str) -> None:
        """Write the formats of the commit that stands again: one that lost has written its own and removed others."""
        found = self.find(key)
        formats = dict.fromkeys((*(found.formats if found else ()), *self._formats))
        self._write_formats(key, self._store.get(output_key(key, "json")), [f for f in formats if f != "json"])

    def _write_formats(self, key: str, body: bytes, formats: Sequence[str]) -> list[str]:
        rendered = render_stored(body, formats)
        for suffix, content in rendered.items():
            self._put(key, suffix, content)
        return list(rendered)

    def _gone(self, key: str, formats: Sequence[str], found: Committed) -> list[str]:
        """Those that a commit says are there, and are not."""
        if not formats or (found.formats and found.job == self._job_id):
            return []
        if found.formats:
            there = {suffix.rpartition(".")[2] for suffix in self._format_suffixes(key)}
            return [f for f in formats if f not in there]
        # A directory keeps no metadata, and to list it costs more than to look.
        names = {f: (output_key(key, f), output_key(key, f"ch0.{f}")) for f in formats}
        return [f for f in formats if all(self._store.head(name) is None for name in names[f])]

    def commit(self, transcript: Transcript, replaces: Committed | None) -> Committed | None:
        """Write all formats of a transcript and remove those that only the replaced one had, then write the .json.

        Args:
            replaces: the commit that `find` saw before the work began.

        Returns:
            The commit, or None where another worker's commit came first and stands.

        Raises:
            PreconditionFailed: a commit that is not current for this job came first.
        """
        key = transcript.source.key
        if replaces and replaces.is_foreign and self._overwrite is not Overwrite.ALWAYS:
            raise RecordingError(
                Reason.OUTPUT_TAKEN,
                f"{output_key(key, 'json')} is there already and is no transcript of this tool: move it, choose "
                "another output, or set overwrite: Always.",
            )
        rendered = render(transcript, self._formats)
        body = rendered.pop("json")
        reach(Point.FORMATTED)
        for suffix, content in rendered.items():
            self._put(key, suffix, content)
            reach(Point.FORMAT_PUT)
        if replaces:  # now, for whoever dies after the commit finds nothing left to do on its return
            self._remove_other_formats(key, set(rendered))
        facts = Committed.of(transcript, "", self._formats)
        condition: Condition = None
        if self._conditional:
            condition = IfMatch(replaces.etag) if replaces else IfAbsent()
        reach(Point.COMMIT_BEFORE)
        try:
            etag = self._put(key, "json", body, metadata=facts.to_metadata(), condition=condition)
        except PreconditionFailed:
            winner = self.find(key)
            if winner and self.is_current(winner, transcript.source.etag):
                return None
            if winner and not winner.is_foreign:
                self.restore_formats(key)
            # Whose recording, model or options are the newer ones, only a fresh look at the source can tell.
            raise
        reach(Point.COMMIT_PUT)
        return replace(facts, etag=etag)

    def _remove_other_formats(self, key: str, written: set[str]) -> None:
        """What an older transcript had and this one has not would tell of another recording."""
        for suffix in self._format_suffixes(key):
            if suffix not in written:
                self._store.delete(output_key(key, suffix))
                reach(Point.FORMAT_REMOVED)

    def _format_suffixes(self, key: str) -> list[str]:
        """Of the formats beside a recording's .json that are there: "txt", "ch0.srt".

        A .json of its own says that `call.ch1.txt` belongs to a recording `call.ch1`, and not to a channel of `call`.
        """
        suffixes = [info.key.removeprefix(f"{key}.") for info in self._store.list(f"{key}.")]
        neighbours = {suffix.removesuffix("json") for suffix in suffixes if suffix.endswith(".json")}
        return [
            suffix
            for suffix in suffixes
            if (match := _FORMAT_SUFFIX.fullmatch(suffix)) and match["channel"] not in neighbours
        ]

    def _put(
        self,
        key: str,
        suffix: str,
        body: bytes,
        *,
        metadata: Mapping[str, str] | None = None,
        condition: Condition = None,
    ) -> str:
        return self._store.put(
            output_key(key, suffix),
            body,
            content_type=CONTENT_TYPES[suffix.rpartition(".")[2]],
            metadata=metadata,
            condition=condition,
        )
