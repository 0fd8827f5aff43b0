"""`transcription run` on directories, with a real model and real kills."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.jobs import TINY_CTC, Job, descendants, ledger, texts, wait_until, without_toolkit, worker_pids
from tests.speech import make_recordings
from transcription_worker.plan import Recording

pytestmark = pytest.mark.model


@pytest.fixture
def recordings(tmp_path):
    return make_recordings(tmp_path / "in", 12)


@pytest.fixture
def job(tmp_path, recordings):
    return Job.of(tmp_path / "job", source=tmp_path / "in", output=tmp_path / "out")


def test_the_guard_against_the_toolkit_works(tmp_path):
    environment = {**os.environ, **without_toolkit(tmp_path / "guard")}
    assert subprocess.run([sys.executable, "-c", "import json"], env=environment, check=False).returncode == 0
    done = subprocess.run([sys.executable, "-c", "import torch"], env=environment, check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (99, b"torch was imported")


def test_a_job_leaves_transcripts_a_report_and_an_empty_scratch(tmp_path, job, recordings):
    (tmp_path / "in/notes.txt").write_text("no recording")
    done = job.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert texts(tmp_path / "out") == recordings
    assert (tmp_path / "out/0/r0000.wav.txt").read_text() == "one two three\n"
    assert job.scratch_files() == []
    report = re.search(r"report\s+(\S+)", done.stdout)
    assert report
    summary = json.loads((tmp_path / report[1]).with_name("summary.json").read_text())
    assert (summary["done"], summary["failed"], summary["ignored"], summary["missing"]) == (12, 0, 1, 0)
    usage = summary["usage"]
    assert usage["workers"] >= 1
    assert 0 < usage["model_busy"] < 1
    assert usage["audio_seconds"] >= summary["audio_seconds"] - 0.1 > 0
    assert 0 < usage["seconds"]["start"] < usage["worker_seconds"]
    assert (usage["gpu_seconds"], usage["cost"]) == (None, None)
    assert not [p for p in descendants(os.getpid()) if "transcription_worker" in str(p)]


def test_the_second_run_finds_nothing_to_do_without_importing_the_toolkit(tmp_path, job, recordings):
    assert job.run().returncode == 0
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.wav.json")}
    again = Job(job.folder, job.spec, without_toolkit(tmp_path / "guard")).run()
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Nothing to do: all 12 recordings have a current transcript." in again.stdout
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.wav.json")} == before


def test_only_what_changed_is_done_again(tmp_path, job, recordings):
    assert job.run().returncode == 0
    changed = tmp_path / "in/0/r0000.wav"
    changed.write_bytes((tmp_path / "in/1/r0001.wav").read_bytes())
    (tmp_path / "out/2/r0002.wav.json").unlink()
    again = job.run()
    assert again.returncode == 0, again.stdout
    states = {line["key"]: line["state"] for line in ledger(tmp_path / "out")[-12:]}
    assert sorted(k for k, s in states.items() if s == "done") == ["0/r0000.wav", "2/r0002.wav"] or (
        texts(tmp_path / "out")["0/r0000.wav"] == "left right go"
    )
    assert texts(tmp_path / "out") == {**recordings, "0/r0000.wav": "left right go"}


def test_a_format_added_later_is_rendered_without_the_model(tmp_path, job, recordings):
    assert job.run().returncode == 0
    spec = {**job.spec, "output": {**job.spec["output"], "formats": ["json", "txt", "srt", "vtt", "ctm"]}}
    again = Job(job.folder, spec, without_toolkit(tmp_path / "guard")).run()
    assert again.returncode == 0, again.stdout + again.stderr
    assert "one two three" in (tmp_path / "out/0/r0000.wav.srt").read_text()
    assert len(list((tmp_path / "out").rglob("*.ctm"))) == 12


def test_one_bad_recording_costs_no_other_and_is_listed_with_its_reason(tmp_path, job, recordings):
    (tmp_path / "in/bad.wav").write_bytes(b"RIFF" + os.urandom(2000))
    (tmp_path / "in/empty.mp3").write_bytes(b"")
    spec = {**job.spec, "failurePolicy": {"maxFailedRecordings": 2}}
    done = Job(job.folder, spec, {}).run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert texts(tmp_path / "out") == recordings
    failed = {line["key"]: line["reason"] for line in ledger(tmp_path / "out") if line["state"] == "failed"}
    assert failed["empty.mp3"] == "Empty"
    assert failed["bad.wav"] in ("Corrupt", "UnsupportedFormat")
    assert "failed (Empty): empty.mp3 is empty (0 bytes)" in done.stdout


def test_estimates_that_are_wrong_by_more_than_a_hundred_times_cost_no_recording(tmp_path, job, recordings):
    rng = np.random.default_rng(0)
    hour = rng.integers(-1, 2, 3600 * 2_000).astype(np.int16)
    soundfile.write(tmp_path / "in/hour.flac", np.repeat(hour[::40_000], 40_000), 2_000)
    soundfile.write(tmp_path / "in/moment.wav", rng.normal(scale=1e-4, size=(192_000, 16)), 192_000, subtype="FLOAT")
    real = {"hour.flac": 3600.0, "moment.wav": 1.0}
    for name, seconds in real.items():
        estimated = Recording(name, "", (tmp_path / "in" / name).stat().st_size).estimated_seconds
        assert max(estimated / seconds, seconds / estimated) > 100
    done = job.run("--workers", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    durations = {line["key"]: line["duration"] for line in ledger(tmp_path / "out")}
    assert {name: durations[name] for name in real} == real
    assert {name: text for name, text in texts(tmp_path / "out").items() if name not in real} == recordings
    assert job.scratch_files() == []


def test_more_failures_than_allowed_fail_the_job_but_keep_what_is_done(tmp_path, job, recordings):
    (tmp_path / "in/empty.mp3").write_bytes(b"")
    spec = {**job.spec, "failurePolicy": {"maxFailedRecordings": 0}}
    done = Job(job.folder, spec, {}).run()
    assert done.returncode == 1
    assert "1 of 13 recordings failed, more than spec.failurePolicy.maxFailedRecordings (0) allows." in done.stdout
    assert texts(tmp_path / "out") == recordings


def test_a_killed_worker_gets_a_successor_and_nothing_is_lost_or_left(tmp_path, job, recordings):
    run = job.start("--workers", "2")
    wait_until(lambda: len(worker_pids(run.pid)) == 2)
    wait_until(lambda: any((tmp_path / "out").glob("_transcription/*/claims/*")))
    os.kill(worker_pids(run.pid)[0], signal.SIGKILL)
    output, _ = run.communicate(timeout=300)
    assert run.returncode == 0, output
    assert "killed by SIGKILL); a successor takes over." in output
    assert texts(tmp_path / "out") == recordings
    outcomes = ledger(tmp_path / "out")
    assert sorted(line["key"] for line in outcomes) == sorted(recordings)
    assert job.scratch_files() == []


def test_a_killed_run_takes_its_workers_along_and_the_next_run_does_the_rest(tmp_path, job, recordings):
    run = job.start()
    wait_until(lambda: any((tmp_path / "out").rglob("*.wav.json")), 120)
    children = descendants(run.pid)
    assert children
    run.kill()
    run.communicate()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
    again = job.run()
    assert again.returncode == 0, again.stdout
    assert texts(tmp_path / "out") == recordings
    assert job.scratch_files() == []


def test_ctrl_c_drains_and_the_next_run_does_the_rest(tmp_path, recordings):
    recordings = make_recordings(tmp_path / "in", 150)
    job = Job.of(tmp_path / "job", source=tmp_path / "in", output=tmp_path / "out", transcription={"batchSeconds": 2})
    run = job.start()
    wait_until(lambda: any((tmp_path / "out").rglob("*.wav.json")), 120)
    run.send_signal(signal.SIGINT)
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 130, output
    assert "Draining" in output
    done = texts(tmp_path / "out")
    assert 0 < len(done) < len(recordings)
    assert job.scratch_files() == []
    again = job.run()
    assert again.returncode == 0, again.stdout
    assert texts(tmp_path / "out") == recordings


def test_a_second_ctrl_c_stops_at_once(tmp_path, job, recordings):
    run = job.start()
    wait_until(lambda: bool(worker_pids(run.pid)))
    worker = worker_pids(run.pid)[0]
    wait_until(lambda: any((tmp_path / "out").glob("_transcription/*/claims/*")))
    run.send_signal(signal.SIGINT)
    time.sleep(0.3)
    run.send_signal(signal.SIGINT)
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 130, output
    assert not Path(f"/proc/{worker}").exists()
    assert job.scratch_files() == []


def test_a_stopped_worker_does_not_hold_up_the_job(tmp_path, job, recordings):
    run = job.start("--workers", "2")
    try:
        wait_until(lambda: len(worker_pids(run.pid)) == 2)
        stopped = worker_pids(run.pid)[1]
        os.kill(stopped, signal.SIGSTOP)
        output, _ = run.communicate(timeout=300)
    finally:
        if run.poll() is None:
            run.kill()
    assert run.returncode == 0, output
    assert texts(tmp_path / "out") == recordings
    assert not Path(f"/proc/{stopped}").exists()
    assert job.scratch_files() == []


def test_a_reader_that_goes_away_does_not_end_the_job(tmp_path, job, recordings):
    run = job.start()
    assert run.stdout
    assert run.stdout.readline().startswith("Planned 12 recordings")
    run.stdout.close()
    assert run.wait(300) == 0
    assert texts(tmp_path / "out") == recordings
    assert len(list((tmp_path / "out").glob("_transcription/*/report/index.html"))) == 1


@pytest.mark.parametrize(
    ("change", "code", "sentence"),
    [
        ({"model": {"uri": "/nowhere/x.nemo"}}, 78, "/nowhere/x.nemo"),
        ({"model": {"uri": str(TINY_CTC), "sha256": "0" * 64}}, 78, "sha256"),
        ({"input": {"uri": "/nowhere"}}, 78, "/nowhere"),
        ({"input": {"uri": "s3://calls/", "manifest": "s3://calls/list.jsonl"}}, 2, "spec.input"),
        ({"output": {"uri": "/proc/nowhere"}}, 78, "/proc/nowhere"),
    ],
)
def test_a_mistake_is_one_sentence_and_its_exit_code(tmp_path, change, code, sentence):
    make_recordings(tmp_path / "in", 1)
    job = Job.of(tmp_path / "job", source=tmp_path / "in", output=tmp_path / "out")
    job.spec.update(change)
    done = job.run()
    assert done.returncode == code, done.stdout + done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
