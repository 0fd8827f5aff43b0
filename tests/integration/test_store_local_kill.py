"""A directory as a store, when the writing process is killed: no part of a file is ever seen or left."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from transcription_worker.store.local import LocalStore
from transcription_worker.store.local_write import LOCK, PENDING

SIZE = 300_000
ROUNDS = 60

# Each body is one byte repeated, so that a mixture or a part of two shows.
CREATE = """
import sys
from transcription_worker.store.local import LocalStore
from transcription_worker.store.protocol import IfAbsent
store, first = LocalStore(__import__("pathlib").Path(sys.argv[1]), "root"), int(sys.argv[2])
print("ready", flush=True)
for number in range(first, first + 100000):
    store.put(f"out/{number}.json", bytes([number % 256]) * %(size)d, condition=IfAbsent())
"""
REPLACE = """
import sys
from transcription_worker.store.local import LocalStore
store = LocalStore(__import__("pathlib").Path(sys.argv[1]), "root")
print("ready", flush=True)
for number in range(100000):
    store.put("out/one.json", bytes([number % 256]) * %(size)d)
"""
NO_UNNAMED = """
from transcription_worker.store import local_write
local_write._open_unnamed = lambda directory: None
"""


def kill_while_writing(script: str, root: Path, *arguments: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", script.replace("%(size)d", str(SIZE)), str(root), *arguments], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        # Chance picks the system call at which it dies.
        time.sleep(random.uniform(0, 0.05))
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


def assert_whole(path: Path) -> None:
    body = path.read_bytes()
    assert len(body) == SIZE and body == body[:1] * SIZE


@pytest.mark.slow
def test_a_killed_writer_of_new_files_leaves_whole_files_only(tmp_path: Path) -> None:
    root, written = tmp_path / "root", 0
    for _ in range(ROUNDS):
        kill_while_writing(CREATE, root, str(written))
        files = [path for path in root.rglob("*") if path.is_file()]
        for path in files[written:]:
            assert_whole(path)
        assert sorted(int(path.stem) for path in files) == list(range(len(files)))
        written = len(files)
    assert written > ROUNDS


@pytest.mark.slow
@pytest.mark.parametrize("before", ["", NO_UNNAMED], ids=["unnamed", "named"])
def test_a_killed_replacer_leaves_one_version_and_at_most_one_pending_file(tmp_path: Path, before: str) -> None:
    root, pending = tmp_path / "root", 0
    store = LocalStore(root, "root")
    for _ in range(ROUNDS):
        kill_while_writing(before + REPLACE, root)
        files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
        assert files <= {"out/one.json", LOCK, PENDING}
        if "out/one.json" in files:
            assert_whole(root / "out/one.json")
        pending += PENDING in files
        assert [found.key for found in store.list()] in ([], ["out/one.json"])
        # The first may create the file, which needs no pending name; the second replaces it, which does.
        store.put("out/one.json", b"\0" * SIZE)
        store.put("out/one.json", b"\0" * SIZE)
        assert not (root / PENDING).exists()
    # Else no kill came between the two names, and the test has shown nothing.
    assert pending > 0 or not before
