"""The static check finds every way to leak that it claims to find, and is quiet about good code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts import verify_scratch

PROJECT = Path(verify_scratch.__file__).parent.parent
SCRATCH = "worker/transcription_worker/scratch.py"


def rules_broken(source: str) -> list[str]:
    faults, _ = verify_scratch.check({"module.py": source}, {})
    return [fault.rule for fault in faults]


def test_planted_faults_are_found_and_nothing_else() -> None:
    assert verify_scratch.self_test() == []


def test_self_test_notices_a_check_that_went_blind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_scratch, "WRITING_METHODS", set())
    assert any("planted 'writes' was not found" in complaint for complaint in verify_scratch.self_test())


def test_script_passes_over_the_tree_or_says_where_not() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/verify_scratch.py"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "ok"


GUARDED = """\
        path = self.new_path(extension)
        try:
"""
REMOVED = """\
        finally:
            self.remove(path)
"""


@pytest.mark.parametrize(
    ("whole", "broken", "rule"),
    [
        (REMOVED, REMOVED.replace("self.remove(path)", "pass"), "late"),
        (GUARDED, GUARDED.replace("        try", "        path.exists()\n        try"), "no-finally"),
        ("import logging\n", "import logging\nimport tempfile\n", "tempfile"),
    ],
)
def test_scratch_itself_cannot_be_broken_unnoticed(whole: str, broken: str, rule: str) -> None:
    source = (PROJECT / SCRATCH).read_text()
    assert source.count(whole) == 1
    allowed = verify_scratch.read_allow_list(verify_scratch.ALLOW_LIST)
    faults, _ = verify_scratch.check({SCRATCH: source.replace(whole, broken)}, allowed)
    assert [fault.rule for fault in faults] == [rule]


def test_fault_reads_as_a_place_and_a_sentence() -> None:
    (fault,), _ = verify_scratch.check({"worker/x.py": "class A:\n    def f(self, p):\n        p.touch()\n"}, {})
    assert str(fault).startswith("worker/x.py:3: in A.f: makes files: use `with scratch.file(...)`")


def test_allowed_function_may_write_and_another_of_the_same_name_may_not() -> None:
    source = (
        "class A:\n    def save(self, p):\n        p.touch()\nclass B:\n    def save(self, p):\n        p.touch()\n"
    )
    faults, stale = verify_scratch.check({"x.py": source}, {("x.py", "A.save"): "meant to stay"})
    assert [(fault.line, fault.function) for fault in faults] == [(6, "B.save")]
    assert stale == []


def test_allowing_writes_allows_no_lost_path() -> None:
    faults, _ = verify_scratch.check(
        {"x.py": "def f(s):\n    s.new_path('wav').touch()\n"}, {("x.py", "f"): "meant to stay"}
    )
    assert [fault.rule for fault in faults] == ["unbound"]


def test_entry_that_fits_no_write_is_stale() -> None:
    _, stale = verify_scratch.check(
        {"x.py": "def f(p):\n    return p.read_bytes()\n"}, {("x.py", "f"): "meant to stay"}
    )
    assert stale == [("x.py", "f")]


def test_reason_that_says_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "allowed.toml"
    path.write_text('["x.py"]\nf = "needed"\n')
    with pytest.raises(SystemExit, match="say in a sentence why"):
        verify_scratch.read_allow_list(path)


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.open('a', os.O_RDONLY | os.O_CLOEXEC)",
        "open('a', 'rb')",
        "zip_file.open('name-with-an-a')",
        "'a'.replace('b', 'c')",
        "import dataclasses\ndataclasses.replace(x, y=1)",
        "import json\njson.dump({}, stream)",
    ],
)
def test_what_only_reads_passes(source: str) -> None:
    assert rules_broken(source) == []


@pytest.mark.parametrize(
    "source",
    ["import os as o\no.mkdir('a')", "from os import replace\nreplace('a', 'b')", "open('a', **options)"],
)
def test_what_writes_under_another_name_is_found(source: str) -> None:
    assert rules_broken(source) == ["writes"]
