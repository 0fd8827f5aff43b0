"""Termination messages: whole JSON or one sentence, never more than the kubelet keeps, nothing outside a pod."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcription_worker.cli import worker_main
from transcription_worker.entry_points import PLAN_FIELDS, REPORT_FIELDS
from transcription_worker.plan import Plan
from transcription_worker.termination import MAX_BYTES, fitting_json, leave_sentence, leave_summary


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a pod has."""
    path = tmp_path / "termination-log"
    path.touch()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("TRANSCRIPTION_TERMINATION_LOG", str(path))
    return path


def test_a_sentence_is_cut_between_characters(log: Path) -> None:
    leave_sentence("ä" * 5000)
    assert log.read_text() == "ä" * (MAX_BYTES // 2)
    leave_sentence("x" + "ä" * 5000)
    assert log.read_text() == "x" + "ä" * (MAX_BYTES // 2 - 1)
    leave_sentence("short\n")
    assert log.read_text() == "short"


def test_outside_a_pod_nothing_is_written(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    leave_sentence("x")
    assert log.read_text() == ""


def test_a_file_that_the_kubelet_did_not_make_is_not_made(log: Path) -> None:
    log.unlink()
    leave_summary({"done": 1})
    assert not log.exists()


VALUES = st.one_of(st.integers(), st.text(max_size=4000), st.lists(st.text(max_size=900), max_size=12))


@given(st.dictionaries(st.text(max_size=20), VALUES, max_size=8))
def test_json_fits_and_is_whole_whatever_the_fields(fields: dict[str, object]) -> None:
    text = fitting_json(fields)
    kept = json.loads(text)
    assert len(text.encode()) <= MAX_BYTES
    assert list(kept) == list({k.encode(errors="replace").decode(): v for k, v in fields.items()})[: len(kept)]


def test_a_report_of_endless_texts_keeps_its_counts_and_as_many_failures_as_fit() -> None:
    failures = [{"key": "ключ/" * 50, "reason": "Corrupt", "message": "m" * 200} for _ in range(10)]
    fields: dict[str, object] = dict.fromkeys(REPORT_FIELDS, 1_000_000)
    fields |= {"report": "s3://bucket/" + "x" * 1100, "failures_by_reason": {"Corrupt": 10}, "failures": failures}
    kept = json.loads(fitting_json(fields))
    assert list(kept) == list(REPORT_FIELDS)
    assert kept["failures"] == failures[:1]


def test_a_report_address_without_end_costs_the_address_and_not_the_counts() -> None:
    fields: dict[str, object] = dict.fromkeys(REPORT_FIELDS, 7)
    kept = json.loads(fitting_json(fields | {"report": "x" * 5000}))
    assert [kept[name] for name in ("planned", "done", "skipped", "failed", "missing", "audio_seconds")] == [7] * 6
    assert "report" not in kept


def test_the_plan_has_every_field_that_its_message_names() -> None:
    assert set(PLAN_FIELDS) <= set(Plan.__dataclass_fields__)


def test_a_wrong_command_line_leaves_its_sentence(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        worker_main(["work", "--listen", "here"])
    assert ended.value.code == 2
    assert "'here' is no address: write HOST:PORT" in log.read_text()
    assert "usage:" in capsys.readouterr().err


def test_no_manifest_leaves_its_sentence(log: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TRANSCRIPTION_JOB", raising=False)
    assert worker_main(["plan", "--scratch", str(tmp_path / "scratch"), "--cache", str(tmp_path / "cache")]) == 78
    assert log.read_text() == "There is no manifest: name a file with -f, or set TRANSCRIPTION_JOB."


def test_an_invalid_manifest_leaves_its_faults(log: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRANSCRIPTION_JOB", '{"kind": "TranscriptionJob"}')
    with pytest.raises(SystemExit) as ended:
        worker_main(["report", "--scratch", str(tmp_path / "scratch"), "--cache", str(tmp_path / "cache")])
    assert ended.value.code == 2
    assert "spec" in log.read_text()


def test_a_fault_of_the_software_leaves_what_it_was(
    log: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("transcription_worker.sweep.checked_sweep", broken)
    assert worker_main(["sweep", "--scratch", str(tmp_path / "scratch"), "--cache", str(tmp_path / "cache")]) == 1
    assert log.read_text() == "A fault of the software, see the log: ZeroDivisionError: of all things"
    assert "Traceback" in capsys.readouterr().err


def test_a_sweep_leaves_its_summary(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert worker_main(["sweep", "--scratch", str(tmp_path / "scratch"), "--cache", str(tmp_path / "cache")]) == 0
    left = json.loads(log.read_text())
    assert list(left) == ["orphans", "removed", "removed_bytes", "failed", "free_bytes"]
    assert left["orphans"] == 0 and left["free_bytes"] > 0
    assert json.loads(capsys.readouterr().out) == left
