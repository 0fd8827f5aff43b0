"""`transcription-worker` as a container calls it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs import Job, wait_until, without_toolkit
from tests.speech import make_recordings
from transcription_worker.layout import JobLayout
from transcription_worker.outcome import Outcome, State, write_outcomes
from transcription_worker.store import open_store

WORKER = [sys.executable, "-m", "transcription_worker"]


@pytest.fixture
def job(tmp_path):
    make_recordings(tmp_path / "in", 6)
    return Job.of(tmp_path / "job", source=tmp_path / "in", output=tmp_path / "out")


@pytest.fixture
def environment(job, tmp_path):
    """The manifest in the environment, as the operator hands it to a pod; the toolkit cannot be imported."""
    manifest = {**job.manifest, "metadata": {"name": "job", "uid": "0123456789abcdef"}}
    return {
        **os.environ,
        "TRANSCRIPTION_JOB": json.dumps(manifest),
        "TRANSCRIPTION_SCRATCH": str(job.scratch),
        "TRANSCRIPTION_CACHE": str(tmp_path / "cache"),
        **without_toolkit(tmp_path / "guard"),
    }


def call(environment, *arguments):
    return subprocess.run([*WORKER, *arguments], env=environment, capture_output=True, text=True, check=False)


def test_plan_and_report_print_their_summary_and_never_import_the_toolkit(job, environment, tmp_path):
    planned = call(environment, "plan", "--local")
    assert planned.returncode == 0, planned.stderr
    plan = json.loads(planned.stdout)
    assert (plan["job_id"], plan["recordings"]) == ("job-01234567", 6)
    assert json.loads(call(environment, "plan", "--local").stdout) == plan
    reported = call(environment, "report", "--local")
    assert reported.returncode == 0, reported.stderr
    assert json.loads(reported.stdout)["missing"] == 6
    assert job.scratch_files() == []


def test_paths_are_for_local_runs_only(environment):
    refused = call(environment, "plan")
    assert refused.returncode == 2
    assert "spec.input.uri" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_no_manifest_at_all_is_one_sentence(environment):
    environment.pop("TRANSCRIPTION_JOB")
    refused = call(environment, "plan")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (78, 1)
    assert "-f" in refused.stderr


def test_report_before_plan_is_one_sentence(environment, tmp_path):
    (tmp_path / "out").mkdir()
    refused = call(environment, "report", "--local")
    assert refused.returncode == 78
    assert "plan.json" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_transcript_that_was_moved_away_costs_the_report_nothing_but_its_text(job, environment, tmp_path):
    plan = json.loads(call(environment, "plan", "--local").stdout)
    gone = Outcome(key="a.wav", etag="e", size=1, state=State.DONE, output="a.wav.json", output_etag="t")
    layout = JobLayout(plan["job_id"])
    open_store(str(tmp_path / "out")).put(layout.ledger(0), write_outcomes([gone]))
    reported = call(environment, "report", "--local")
    assert reported.returncode == 0, reported.stderr
    assert json.loads(reported.stdout)["done"] == 1
    assert "a.wav.json is not on the page" in reported.stderr
    assert "a.wav" in (tmp_path / "out" / layout.report("index.html")).read_text()


def test_sweep_removes_orphans_and_checks_room(job, environment):
    held = subprocess.Popen(
        [sys.executable, "-c", _HOLD_SCRATCH, str(job.scratch)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert held.stdout
    left = Path(held.stdout.readline().strip())
    held.kill()
    held.communicate()
    assert left.exists()
    assert call(environment, "sweep").returncode == 0
    assert job.scratch_files() == []
    assert call(environment, "sweep", "--min-free", "1Ei").returncode == 75


_HOLD_SCRATCH = """
import sys, pathlib
from transcription_worker.scratch import Scratch
scratch = Scratch(pathlib.Path(sys.argv[1]), min_free_bytes=0)
path = scratch.new_path("wav")
path.write_bytes(b"x" * 1000)
print(path, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("entry", ["plan", "work", "report", "sweep", "drain"])
def test_help_is_there_and_imports_nothing_heavy(environment, entry):
    shown = call(environment, entry, "--help")
    assert shown.returncode == 0
    assert "usage: transcription-worker" in shown.stdout


@pytest.mark.model
def test_drain_ends_a_worker_within_its_batch_and_sweeps(job, environment, tmp_path):
    make_recordings(tmp_path / "in", 300)
    environment.pop("PYTHONPATH")
    manifest = json.loads(environment["TRANSCRIPTION_JOB"])
    manifest["spec"]["transcription"] = {"batchSeconds": 1}
    environment["TRANSCRIPTION_JOB"] = json.dumps(manifest)
    assert call(environment, "plan", "--local").returncode == 0
    worker = subprocess.Popen([*WORKER, "work", "--local", "--index", "0"], env=environment, stderr=subprocess.PIPE)
    try:
        wait_until(lambda: any((tmp_path / "out").rglob("*.wav.json")), 120)
        drained = call(environment, "drain", "--pid", str(worker.pid), "--timeout", "60")
        assert drained.returncode == 0, drained.stderr
        assert worker.wait(10) == 143
    finally:
        if worker.poll() is None:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
    assert 0 < len(list((tmp_path / "out").rglob("*.wav.json"))) < 300
    assert job.scratch_files() == []


def test_drain_refuses_a_process_that_is_no_worker(environment):
    refused = call(environment, "drain", "--pid", str(os.getpid()))
    assert refused.returncode == 78
    assert "no transcription worker" in refused.stderr


@pytest.mark.parametrize("place", ["in", "out", "out/scratch", "."])
def test_scratch_that_overlaps_with_what_is_to_stay_is_refused(job, environment, tmp_path, place):
    refused = call(environment, "plan", "--local", "--scratch", str(tmp_path / place))
    assert refused.returncode == 78
    assert "overlap, and scratch is swept" in refused.stderr
    assert len(list((tmp_path / "in").rglob("*.wav"))) == 6


def test_a_link_out_of_the_input_costs_only_itself_and_not_the_report(job, environment, tmp_path):
    (tmp_path / "in/link.wav").symlink_to("/etc/passwd")
    assert call(environment, "plan", "--local").returncode == 0
    output = tmp_path / "out/_transcription/job-01234567"
    outcome = {"key": "link.wav", "etag": "", "size": 1, "state": "failed", "reason": "AccessDenied", "message": "x"}
    (output / "ledger").mkdir()
    (output / "ledger/00000.jsonl").write_text(json.dumps(outcome) + "\n")
    reported = call(environment, "report", "--local")
    assert reported.returncode == 0, reported.stderr
    assert (output / "report/index.html").exists()


def test_a_sigterm_during_plan_leaves_nothing_in_scratch(job, environment, tmp_path):
    lines = (json.dumps({"key": f"{n}.wav"}) for n in range(200_000))
    (tmp_path / "in/list.jsonl").write_text("\n".join(lines))
    manifest = json.loads(environment["TRANSCRIPTION_JOB"])
    manifest["spec"]["input"] = {"manifest": str(tmp_path / "in/list.jsonl")}
    environment["TRANSCRIPTION_JOB"] = json.dumps(manifest)
    plan = subprocess.Popen([*WORKER, "plan", "--local"], env=environment, stderr=subprocess.PIPE)
    wait_until(lambda: any(job.scratch.glob("owner-*/*")))
    plan.terminate()
    assert plan.wait(30) == 143
    assert job.scratch_files() == []


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        (["sweep", "--min-free", "1Gib"], {}),
        (["work"], {"JOB_COMPLETION_INDEX": "abc"}),
        (["plan", "--local"], {"AWS_ACCESS_KEY_ID": "AKIA\n", "AWS_SECRET_ACCESS_KEY": "x", "s3": "yes"}),
    ],
)
def test_a_wrong_word_is_a_sentence_and_no_traceback(environment, arguments, changes):
    if changes.pop("s3", None):
        manifest = json.loads(environment["TRANSCRIPTION_JOB"])
        manifest["spec"]["input"] = {"uri": "s3://calls/x"}
        environment["TRANSCRIPTION_JOB"] = json.dumps(manifest)
    refused = call({**environment, **changes}, *arguments)
    assert refused.returncode in (2, 78)
    assert "Traceback" not in refused.stderr
    assert "Signature" not in refused.stderr
