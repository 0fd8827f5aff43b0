"""The promise of scratch, with real processes that end in every way a process can end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.scratch_drivers import DEADLINE_SECONDS, driver, go_on, left, start_and_end, told
from transcription_worker.sweep import sweep


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "scratch"


def test_normal_run_leaves_nothing(root: Path) -> None:
    start_and_end(root)
    assert left(root) == []


@pytest.mark.parametrize("stage", ["writing", "transcribing"])
def test_exception_leaves_nothing_and_is_the_one_that_is_seen(root: Path, stage: str) -> None:
    with driver("fail", root, stage) as process:
        _, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == f"RuntimeError: the {'encoder' if stage == 'writing' else 'model'} broke"
    assert "During handling" not in errors
    assert left(root) == []


def test_exit_without_closing_leaves_nothing(root: Path) -> None:
    with driver("exit_without_closing", root) as process:
        assert told(process)["path"].endswith("left-by-a-library.bin")
        assert process.wait(DEADLINE_SECONDS) == 3
    assert left(root) == []


def test_killed_worker_leaves_no_file_after_next_start(root: Path) -> None:
    with driver("hold", root) as process:
        path = Path(told(process)["path"])
        process.kill()
        process.wait(DEADLINE_SECONDS)
    assert path.exists(), "the kill must leave something, or this test shows nothing"
    start_and_end(root)
    assert left(root) == []


def test_sigterm_that_python_does_not_handle_leaves_an_orphan_for_the_next_sweep(root: Path) -> None:
    with driver("hold", root) as process:
        path = Path(told(process)["path"])
        process.terminate()
        assert process.wait(DEADLINE_SECONDS) == -signal.SIGTERM
    assert path.exists()
    result = sweep(root)
    assert (result.orphans, result.failed, left(root)) == (1, 0, [])


def test_sigterm_that_is_turned_into_an_orderly_end_leaves_nothing(root: Path) -> None:
    with driver("drain", root) as process:
        told(process)
        process.terminate()
        assert process.wait(DEADLINE_SECONDS) == 143
    assert left(root) == []


def test_live_neighbour_is_never_touched(root: Path) -> None:
    with driver("hold", root) as neighbour:
        path = Path(told(neighbour)["path"])
        start_and_end(root)
        result = sweep(root, foreign_age_seconds=0, now=lambda: path.stat().st_mtime + 1e9)
        assert (result.live, result.removed) == (1, 0)
        go_on(neighbour)
        assert told(neighbour) == {"kept": True}
        assert neighbour.wait(DEADLINE_SECONDS) == 0
    assert left(root) == []


def test_stopped_neighbour_is_alive(root: Path) -> None:
    with driver("hold", root) as neighbour:
        told(neighbour)
        neighbour.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, neighbour.pid, os.WSTOPPED | os.WNOWAIT)
        start_and_end(root)
        assert sweep(root).live == 1
        neighbour.send_signal(signal.SIGCONT)
        go_on(neighbour)
        assert told(neighbour) == {"kept": True}


@pytest.mark.parametrize("how", ["fork", "subprocess"])
def test_child_that_outlives_its_parent_does_not_keep_the_lease(root: Path, how: str) -> None:
    with driver("spawn", root, how) as process:
        facts = told(process)
        child = facts["child"]
        try:
            assert process.wait(DEADLINE_SECONDS) == -signal.SIGKILL
            assert Path(f"/proc/{child}").exists()
            assert Path(facts["path"]).exists()
            assert sweep(root).orphans == 1
            assert left(root) == []
        finally:
            os.kill(child, signal.SIGKILL)


def test_forked_child_that_ends_takes_nothing_of_its_parent(root: Path) -> None:
    with driver("fork_and_end", root) as process:
        assert told(process) == {"kept": True, "live": 2}
        assert process.wait(DEADLINE_SECONDS) == 0
    assert left(root) == []


def test_orphans_of_many_dead_owners_go_at_one_start(root: Path) -> None:
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(driver("hold", root)) for _ in range(5)]
        assert all(Path(told(worker)["path"]).exists() for worker in workers)
    assert len(list(root.glob("owner-*.lease"))) == 5
    start_and_end(root)
    assert left(root) == []


def test_lease_says_for_people_whose_it_is(root: Path) -> None:
    with driver("hold", root) as process:
        pid = told(process)["pid"]
        (lease,) = root.glob("*.lease")
        assert lease.read_text() == f"{os.uname().nodename} process {pid}\n"
        holders = subprocess.run(["fuser", str(lease)], capture_output=True, text=True, check=False)
        assert holders.returncode == 127 or str(pid) in holders.stdout.split()
