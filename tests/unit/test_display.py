"""The line that `transcription run` draws while it works."""

from __future__ import annotations

from transcription_worker.display import Totals
from transcription_worker.plan import Plan
from transcription_worker.progress import Snapshot

PLAN = Plan("job-0123abcd", "a", "2026-11-30T00:00:00Z", 6, 600, 60.0, 0, 2, conditional_writes=True)


def test_what_a_successor_counts_again_makes_no_more_than_there_is() -> None:
    """Its predecessor had settled four of six, and ended before their ledger."""
    now = Snapshot(done=2, failed=8, bytes=1_000, audio_seconds=7_200.0)
    assert Totals(PLAN, now).line(3_600.0) == "6/6 recordings, 2.00 h of audio, 2x real time, ETA 0:00, 6 failed"


def test_the_rest_is_told_by_bytes() -> None:
    now = Snapshot(done=2, failed=1, bytes=200, audio_seconds=3_600.0)
    assert Totals(PLAN, now).line(60.0) == "3/6 recordings, 1.00 h of audio, 60x real time, ETA 2:00, 1 failed"
