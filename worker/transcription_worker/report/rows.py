"""Which recordings the page shows, and what of each: bounded, whatever the size of the job."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from transcription_worker.outcome import Outcome
from transcription_worker.transcript import Transcript


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLimits:
    """Bounds of index.html. `transcripts` counts those read and embedded, `transcript_characters` their text."""

    failures: int = 1000
    rows: int = 5000
    transcripts: int = 500
    transcript_characters: int = 4_000_000
    message_characters: int = 500


@dataclass(slots=True)
class Sample:
    """The `limit` outcomes whose keys hash lowest: an even choice that does not depend on the order they come in."""

    limit: int
    seen: int = 0
    _heap: list[tuple[int, int, Outcome]] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.seen += 1
        digest = blake2b(outcome.key.encode(errors="surrogatepass"), digest_size=8).digest()
        entry = (-int.from_bytes(digest), self.seen, outcome)
        if len(self._heap) < self.limit:
            heapq.heappush(self._heap, entry)
        elif self._heap and entry[0] > self._heap[0][0]:
            heapq.heapreplace(self._heap, entry)

    def sorted(self, limit: int | None = None) -> list[Outcome]:
        """By key; of a smaller `limit`, the same even choice."""
        lowest = sorted(self._heap, reverse=True)[:limit]
        return sorted((entry[2] for entry in lowest), key=lambda outcome: outcome.key)


def row(outcome: Outcome, audio: Path | None, limits: PageLimits) -> dict[str, object]:
    """One line of the table as the page's script reads it; absent values are left out.

    `speed` is seconds of audio per second of work on this recording; `audio` a file URI.
    """
    steps = [outcome.fetch_seconds, outcome.decode_seconds, outcome.model_seconds, outcome.commit_seconds]
    work = sum(seconds for seconds in steps if seconds is not None)
    fields = {
        "state": outcome.state,
        "key": outcome.key,
        "size": outcome.size,
        "duration": outcome.duration,
        "words": outcome.words,
        "reason": outcome.reason,
        "message": _capped(outcome.message, limits.message_characters),
        "speed": round(outcome.duration / work, 2) if outcome.duration and work > 0 else None,
        "attempts": outcome.attempts,
        "worker": outcome.worker,
        "finished": outcome.finished,
        "output": outcome.output,
        "steps": steps if work > 0 else None,
        "audio": None if audio is None else audio.absolute().as_uri(),
    }
    return {name: value for name, value in fields.items() if value is not None}


def embedded_transcripts(
    outcomes: Sequence[Outcome],
    local: Sequence[bool],
    transcripts: Callable[[Outcome], Transcript | None],
    limits: PageLimits,
) -> Iterator[tuple[int, list[dict[str, object]]]]:
    """(row number, transcript) for the rows that have one, those with a player first, until a limit is reached."""
    room = limits.transcript_characters
    candidates = [i for i, outcome in enumerate(outcomes) if outcome.output is not None]
    candidates.sort(key=lambda i: not local[i])
    for i in candidates[: limits.transcripts]:
        transcript = transcripts(outcomes[i])
        if transcript is None or len(transcript.text) > room:
            continue
        room -= len(transcript.text)
        yield i, _compact(transcript)


def _compact(transcript: Transcript) -> list[dict[str, object]]:
    """Per channel its segments as [start, end, text, words], a word as [text, start, end, confidence]."""
    return [
        {
            "channel": channel.channel,
            "segments": [
                [s.start, s.end, s.text, [[w.text, w.start, w.end, w.confidence] for w in s.words]]
                for s in channel.segments
            ],
        }
        for channel in transcript.channels
    ]


def _capped(text: str | None, limit: int) -> str | None:
    return text if text is None or len(text) <= limit else f"{text[: limit - 1]}…"
