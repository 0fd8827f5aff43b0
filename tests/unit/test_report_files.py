"""manifest.jsonl and summary.json, and what the page holds, without a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from transcription_worker.errors import Reason
from transcription_worker.outcome import Outcome, State, read_outcomes
from transcription_worker.report import (
    CONTENT_TYPES,
    MANIFEST,
    PAGE,
    SUMMARY,
    PageLimits,
    ReportHeader,
    Summary,
    write_report,
)
from transcription_worker.transcript import ChannelTranscript, Provenance, Segment, Source, Transcript


def header(*, planned: int = 4, wall_seconds: float = 10.0) -> ReportHeader:
    return ReportHeader(
        job="calls",
        job_id="calls-1a2b3c4d",
        input="s3://calls/",
        output="s3://transcripts/",
        model="nvidia/x",
        options={"timestamps": "word"},
        started="2026-11-30T09:00:00Z",
        finished="2026-11-30T09:00:10Z",
        wall_seconds=wall_seconds,
        conditional_writes=True,
        ignored=2,
        planned=planned,
        software="transcription-operator 0.1.0",
    )


def done(key: str, *, duration: float = 60.0, words: int = 100) -> Outcome:
    return Outcome(
        key=key,
        etag="e",
        size=1000,
        state=State.DONE,
        output=f"{key}.json",
        duration=duration,
        words=words,
        fetch_seconds=0.5,
        model_seconds=1.5,
    )


def failed(key: str, reason: Reason = Reason.CORRUPT, message: str = "damaged") -> Outcome:
    return Outcome(key=key, etag="e", size=10, state=State.FAILED, reason=reason, message=message)


def skipped(key: str) -> Outcome:
    return Outcome(key=key, etag="e", size=1000, state=State.SKIPPED, output=f"{key}.json", duration=30.0)


def transcript(key: str, text: str = "hello") -> Transcript:
    source = Source(f"s3://calls/{key}", key, "e", 1000, 60.0, 16_000, 1, "flac")
    said = ChannelTranscript(None, (Segment(0.0, 1.0, text),))
    return Transcript(source, Provenance("calls", "x", "a", "b", "nemo", "0", "float32"), (said,))


def write(tmp_path: Path, outcomes: Iterable[Outcome], head: ReportHeader | None = None, **more: Any) -> Summary:
    return write_report(head or header(), outcomes, scratch_paths=lambda name: tmp_path / name, **more)


def embedded(tmp_path: Path) -> dict[str, Any]:
    page = (tmp_path / PAGE).read_text()
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert block is not None
    data: dict[str, Any] = json.loads(block.group(1))
    return data


def test_manifest_is_every_outcome_in_the_order_given(tmp_path: Path) -> None:
    outcomes = [done("b.flac"), failed("a.flac"), skipped("c.flac")]
    write(tmp_path, iter(outcomes))
    assert list(read_outcomes((tmp_path / MANIFEST).read_bytes())) == outcomes


def test_summary_counts_what_became_of_the_recordings(tmp_path: Path) -> None:
    outcomes = [done("a"), failed("b"), skipped("c"), failed("d", Reason.EMPTY), failed("e", Reason.EMPTY)]
    write(tmp_path, outcomes, header(planned=7))
    summary = json.loads((tmp_path / SUMMARY).read_text())
    counts = {name: summary[name] for name in ("planned", "done", "skipped", "failed", "missing", "ignored")}
    assert counts == {"planned": 7, "done": 1, "skipped": 1, "failed": 3, "missing": 2, "ignored": 2}
    assert list(summary["failures_by_reason"].items()) == [("Empty", 2), ("Corrupt", 1)]
    assert (summary["audio_seconds"], summary["speed"], summary["words"], summary["source_bytes"]) == (60, 6, 100, 1000)
    assert summary["work_seconds"] == {"fetch": 0.5, "decode": 0.0, "model": 1.5, "commit": 0.0}
    assert (summary["job"], summary["options"]) == ("calls", {"timestamps": "word"})


def test_histogram_runs_from_the_shortest_to_the_longest(tmp_path: Path) -> None:
    summary = write(tmp_path, [done(str(n), duration=d) for n, d in enumerate([4.9, 5.0, 9.9, 25.0, 50_000.0])])
    assert [(b.at_least, b.below, b.count) for b in summary.durations][:4] == [
        (2, 5, 1),
        (5, 10, 2),
        (10, 20, 0),
        (20, 30, 1),
    ]
    assert (summary.durations[-1].at_least, summary.durations[-1].below) == (36_000, None)
    assert sum(b.count for b in summary.durations) == 5


def test_job_without_recordings_and_without_time_has_a_report(tmp_path: Path) -> None:
    summary = write(tmp_path, [], header(planned=0, wall_seconds=0.0))
    assert (summary.speed, summary.durations, summary.failures_by_reason) == (None, (), {})
    assert (tmp_path / MANIFEST).read_bytes() == b""
    assert embedded(tmp_path)["rows"] == []


def test_page_shows_failures_first_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    outcomes = [done(f"{n:04d}.flac") for n in range(90)] + [failed(f"bad-{n}.flac") for n in range(30)]
    write(tmp_path, outcomes, limits=PageLimits(failures=10, rows=50))
    data = embedded(tmp_path)
    assert [row["state"] for row in data["rows"]] == ["failed"] * 10 + ["done"] * 40
    assert "10 of 30 failed recordings" in data["note"]
    assert "40 of 90 other recordings" in data["note"]
    assert data["summary"]["failed"] == 30
    chosen = [int(row["key"][:4]) for row in data["rows"][10:]]
    assert chosen == sorted(chosen)
    assert chosen[-1] > 60, "an even choice reaches the end of the job"


def test_page_is_the_same_bytes_whatever_the_order_of_the_ledger(tmp_path: Path) -> None:
    outcomes = [done(f"{n}.flac") for n in range(40)] + [failed(f"bad-{n}") for n in range(9)]
    bytes_of = []
    for order in (outcomes, outcomes[::-1]):
        write(tmp_path, order, limits=PageLimits(failures=4, rows=20))
        bytes_of.append((tmp_path / PAGE).read_bytes())
    assert bytes_of[0] == bytes_of[1]


def test_long_message_is_capped_on_the_page_and_whole_in_the_manifest(tmp_path: Path) -> None:
    message = "x" * 10_000
    write(tmp_path, [failed("a", message=message)])
    assert len(embedded(tmp_path)["rows"][0]["message"]) == 500
    assert message in (tmp_path / MANIFEST).read_text()


def test_transcripts_are_embedded_within_limits_and_first_where_there_is_a_player(tmp_path: Path) -> None:
    asked = []

    def transcripts(outcome: Outcome) -> Transcript:
        asked.append(outcome.key)
        return transcript(outcome.key)

    def local(key: str) -> Path | None:
        return tmp_path / key if key in ("7.flac", "8.flac") else None

    outcomes = [done(f"{n}.flac") for n in range(9)] + [failed("bad")]
    limits = PageLimits(transcripts=3)
    write(tmp_path, outcomes, transcripts=transcripts, local_source=local, limits=limits)
    data = embedded(tmp_path)
    assert asked == ["7.flac", "8.flac", "0.flac"]
    assert {data["rows"][int(i)]["key"] for i in data["transcripts"]} == set(asked)
    assert {row["key"]: row.get("audio") for row in data["rows"]}["7.flac"] == (tmp_path / "7.flac").as_uri()

    limits = PageLimits(transcript_characters=12)
    write(tmp_path, outcomes, transcripts=transcripts, limits=limits)
    assert len(embedded(tmp_path)["transcripts"]) == 2, "five characters each"


def test_transcript_that_is_gone_costs_only_its_own_view(tmp_path: Path) -> None:
    write(tmp_path, [done("a"), done("b")], transcripts=lambda o: None if o.key == "a" else transcript(o.key))
    assert list(embedded(tmp_path)["transcripts"]) == ["1"]


def test_strangers_text_cannot_end_the_data_block_or_pass_for_a_placeholder(tmp_path: Path) -> None:
    hostile = ["</script><script>alert(1)</script>", "<!--<script>", "{{script}}", "a\u2028b", "caf\udce9", "]]>"]
    write(tmp_path, [failed(key, message=key) for key in hostile])
    page = (tmp_path / PAGE).read_text()
    assert page.count("</script>") == 2
    assert page.count("<script") == 2
    assert {row["key"] for row in embedded(tmp_path)["rows"]} == set(hostile)


def test_policy_allows_exactly_the_pages_own_script_and_style_and_no_network(tmp_path: Path) -> None:
    write(tmp_path, [])
    page = (tmp_path / PAGE).read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert policy and script and style
    for text in (script.group(1), style.group(1)):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy.group(1)
    assert policy.group(1).startswith("default-src 'none'; ")
    assert "unsafe" not in policy.group(1)
    assert not re.search(r'(?:src|href)="?https?:', page)


def test_files_have_content_types(tmp_path: Path) -> None:
    write(tmp_path, [])
    assert {path.name for path in tmp_path.iterdir()} == set(CONTENT_TYPES)


def test_memory_does_not_grow_with_the_job(tmp_path: Path) -> None:
    count = 20_000

    def stream(total: int) -> Iterator[Outcome]:
        return (done(f"calls/{n:08d}.flac") for n in range(total))

    peaks = []
    for total in (count // 10, count):
        tracemalloc.start()
        write(tmp_path, stream(total), header(planned=total), limits=PageLimits(failures=50, rows=200))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
    assert (tmp_path / MANIFEST).read_bytes().count(b"\n") == count
