"""Checks without running it that no code can leave a temporary file behind. Exit 1 with one sentence per fault.

Two rules, over the syntax tree of every module of the product:

1. What makes files (`open` to write, `Path.mkdir`, `os.open` with O_CREAT, copies, archives, savers of libraries)
   stands only in the functions that verify_scratch_allowed.toml lists, each with its reason. `tempfile` stands nowhere.
   An entry that fits nothing fails.
2. A path from `Scratch.new_path` is bound to a name, and the very next statement is a `try` whose `finally` begins by
   removing it: nothing can be written before the removal is certain, and nothing in the `finally` can fail before it.
   `Scratch.file` is used as a context manager and in no other way.

It trusts itself only as far as it can show: before anything else it must find every fault that is planted in
tests/data/scratch_bad_sample.py, no other, and none in scratch_good_sample.py.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
CHECKED = ("crds", "worker", "operator")
ALLOW_LIST = Path(__file__).with_name("verify_scratch_allowed.toml")
SAMPLES = PROJECT / "tests" / "data"

WRITES = {
    *("os.mkdir", "os.makedirs", "os.mkfifo", "os.mknod", "os.symlink", "os.link", "os.rename", "os.renames"),
    *("os.replace", "shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.copytree", "shutil.move"),
    *("shutil.make_archive", "shutil.unpack_archive", "logging.FileHandler", "sqlite3.connect", "shelve.open"),
    *("dbm.open", "numpy.save", "numpy.savez", "numpy.savetxt", "numpy.memmap", "soundfile.write", "torch.save"),
    *("urllib.request.urlretrieve", "huggingface_hub.hf_hub_download", "huggingface_hub.snapshot_download"),
}
WRITING_METHODS = {
    *("write_text", "write_bytes", "touch", "mkdir", "symlink_to", "hardlink_to", "extractall", "extract", "tofile"),
    *("mkstemp", "mkdtemp", "NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile", "TemporaryDirectory"),
    *("download_file", "download_fileobj"),  # boto3
    *("save_to", "restore_from", "from_pretrained"),  # the model toolkit unpacks and downloads
}
OPENERS = {
    *("open", "io.open", "codecs.open", "gzip.open", "bz2.open", "lzma.open", "wave.open", "tarfile.open"),
    *("zipfile.ZipFile", "av.open", "soundfile.SoundFile"),
}
MODE = re.compile(r"[rwxabtU+|:]+(gz|bz2|xz)?")
CREATING_FLAGS = {"O_CREAT", "O_TMPFILE"}

RULES = {
    "tempfile": "temporary files are made by Scratch only: use `with scratch.file(...)`",
    "writes": "makes files: use `with scratch.file(...)`, or give a reason in scripts/verify_scratch_allowed.toml",
    "unbound": "the path of new_path is not bound to a name: nobody can remove it; use `with scratch.file(...)`",
    "no-finally": "new_path is not directly followed by `try: ... finally:`: an error in between leaves the file",
    "late": "the `finally` does not begin with `remove(path)`: what stands before it may fail and leave the file",
    "rebound": "the name of the path is bound again before its removal: the first file stays",
    "not-with": "scratch.file(...) is not the context of a `with`: nothing removes the file",
}

Allowed = Mapping[tuple[str, str], str]


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """A rule that a line breaks. `function` is the qualified name of what it stands in."""

    path: str
    line: int
    rule: str
    function: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: in {self.function}: {RULES[self.rule]}."


class Module:
    """One module's syntax tree, with what the rules need to know of a node: parent, function, imported name."""

    def __init__(self, path: str, source: str) -> None:
        self.path = path
        self.tree = ast.parse(source, filename=path)
        self.parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}
        self.imports: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                self.imports |= {
                    a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0] for a in node.names
                }
            elif isinstance(node, ast.ImportFrom):
                self.imports |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}

    def faults(self) -> Iterator[Fault]:
        for node in ast.walk(self.tree):
            rule = self._rule_broken_by(node)
            if rule is not None:
                assert isinstance(node, ast.stmt | ast.expr)
                yield Fault(self.path, node.lineno, rule, self._function(node))

    def _rule_broken_by(self, node: ast.AST) -> str | None:
        if isinstance(node, ast.Import) and any(name.name.split(".")[0] == "tempfile" for name in node.names):
            return "tempfile"
        if isinstance(node, ast.ImportFrom) and node.module == "tempfile":
            return "tempfile"
        if not isinstance(node, ast.Call):
            return None
        called = self._name(node.func) or ""
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if called in {"__import__", "importlib.import_module"} and _constant(node, 0, "name") == "tempfile":
            return "tempfile"
        if method == "new_path":
            return self._rule_broken_by_new_path(node)
        if (
            method == "file"
            and isinstance(node.func, ast.Attribute)
            and ast.unparse(node.func.value).endswith("scratch")
        ):
            return None if self._is_context(node) else "not-with"
        return "writes" if self._writes(node, called, method) else None

    def _writes(self, call: ast.Call, called: str, method: str) -> bool:
        if called in WRITES or called.startswith("tempfile.") or method in WRITING_METHODS:
            return True
        if called == "os.open":
            flags = {node.attr for node in ast.walk(call) if isinstance(node, ast.Attribute)}
            return bool(flags & CREATING_FLAGS)
        if called in OPENERS:
            return _may_write(call, 1)
        if called and called.split(".")[0] in {name.split(".")[0] for name in self.imports.values()}:
            return False  # a function of some module that is not in the lists, such as webbrowser.open
        if method == "open":
            return _may_write(call, 0)
        return method in {"rename", "replace"} and len(call.args) == 1 and not call.keywords  # str.replace takes two

    def _rule_broken_by_new_path(self, call: ast.Call) -> str | None:
        statement = self.parents[call]
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if value is call:
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=value) if value is call:
                pass
            case _:
                return "unbound"
        guard = self._next_statement(statement)
        if not isinstance(guard, ast.Try) or not guard.finalbody:
            return "no-finally"
        match guard.finalbody[0]:
            case ast.Expr(value=ast.Call(func=ast.Attribute(attr="remove"), args=[ast.Name(id=removed)])) if (
                removed == name
            ):
                pass
            case _:
                return "late"
        inside = (node for part in (guard.body, guard.handlers, guard.orelse) for top in part for node in ast.walk(top))
        if any(
            isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Load) for node in inside
        ):
            return "rebound"
        return None

    def _next_statement(self, statement: ast.AST) -> ast.AST | None:
        for _, block in ast.iter_fields(self.parents[statement]):
            if isinstance(block, list) and statement in block:
                following = block[block.index(statement) + 1 :]
                return following[0] if following else None
        return None

    def _is_context(self, call: ast.Call) -> bool:
        parent = self.parents[call]
        if isinstance(parent, ast.Call):
            return isinstance(parent.func, ast.Attribute) and parent.func.attr in {
                "enter_context",
                "enter_async_context",
            }
        return isinstance(parent, ast.withitem)

    def _name(self, node: ast.expr) -> str | None:
        """The dotted name with imports resolved; None for what hangs on a call or a subscript."""
        if isinstance(node, ast.Name):
            return self.imports.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            base = self._name(node.value)
            return None if base is None else f"{base}.{node.attr}"
        return None

    def _function(self, node: ast.AST) -> str:
        names = []
        while node in self.parents:
            node = self.parents[node]
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.append(node.name)
        return ".".join(reversed(names)) or "<module>"


def _constant(call: ast.Call, position: int, keyword: str) -> object:
    """A literal argument's value; None where it is not given, `...` where it cannot be read."""
    if any(k.arg is None for k in call.keywords) or any(isinstance(a, ast.Starred) for a in call.args):
        return ...
    given = [k.value for k in call.keywords if k.arg == keyword] or call.args[position : position + 1]
    if not given:
        return None
    return given[0].value if isinstance(given[0], ast.Constant) else ...


def _may_write(call: ast.Call, position: int) -> bool:
    mode = _constant(call, position, "mode")
    if isinstance(mode, str):
        return bool(MODE.fullmatch(mode)) and bool(set(mode) & set("wxa+"))
    return mode is not None


def check(files: Mapping[str, str], allowed: Allowed) -> tuple[list[Fault], list[tuple[str, str]]]:
    """Faults of modules (path -> source) that are not allowed, and the entries of `allowed` that fit none of them."""
    found = sorted(fault for path, source in files.items() for fault in Module(path, source).faults())
    used = {(fault.path, fault.function) for fault in found if fault.rule == "writes"} & set(allowed)
    faults = [fault for fault in found if fault.rule != "writes" or (fault.path, fault.function) not in used]
    return faults, sorted(set(allowed) - used)


def read_allow_list(path: Path) -> Allowed:
    """(module, function) -> reason; a reason that says nothing is refused."""
    allowed = {
        (module, function): reason
        for module, functions in tomllib.loads(path.read_text()).items()
        for function, reason in functions.items()
    }
    for (module, function), reason in allowed.items():
        if not isinstance(reason, str) or len(reason.split()) < 5:
            raise SystemExit(f"{path}: {module}, {function}: say in a sentence why nothing of it can be left behind.")
    return allowed


def self_test() -> list[str]:
    """What the planted faults say about this script; empty when it can be trusted."""
    bad, good = (SAMPLES / f"scratch_{kind}_sample.py" for kind in ("bad", "good"))
    source = bad.read_text()
    planted = {
        (number, rule)
        for number, line in enumerate(source.splitlines(), 1)
        for rule in re.findall(r"# FAULT: ([a-z-]+)", line)
    }
    found = {(fault.line, fault.rule) for fault in check({bad.name: source}, {})[0]}
    complaints = [f"{bad}:{line}: planted '{rule}' was not found" for line, rule in sorted(planted - found)]
    complaints += [f"{bad}:{line}: found '{rule}', which is not planted" for line, rule in sorted(found - planted)]
    complaints += [
        f"{bad}: no fault '{rule}' is planted" for rule in sorted(RULES.keys() - {rule for _, rule in planted})
    ]
    complaints += [f"false alarm: {fault}" for fault in check({good.name: good.read_text()}, {})[0]]
    if not check({}, {("nowhere.py", "nobody"): "stale"})[1]:
        complaints.append("a stale entry of the allow-list was not found")
    return complaints or ([] if planted else [f"{bad}: no fault is planted"])


def main() -> int:
    parser = argparse.ArgumentParser(description="Check that no code can leave a temporary file behind.")
    parser.add_argument("--self-test", action="store_true", help="only prove that planted faults are found")
    only_self_test = parser.parse_args().self_test
    complaints = self_test()
    if complaints or only_self_test:
        print(*complaints or ["self-test ok"], sep="\n")
        return 1 if complaints else 0
    sources = sorted(path for part in CHECKED for path in (PROJECT / part).rglob("*.py"))
    files = {path.relative_to(PROJECT).as_posix(): path.read_text() for path in sources}
    allowed = read_allow_list(ALLOW_LIST)
    faults, stale = check(files, allowed)
    for fault in faults:
        print(fault)
    for path, function in stale:
        print(f"scripts/{ALLOW_LIST.name}: {path}, {function} makes no files any more: take the entry out.")
    print(f"self-test ok; {len(files)} modules checked, {len(allowed)} functions allowed to make files")
    print(f"{len(faults) + len(stale)} faults" if faults or stale else "ok")
    return 1 if faults or stale else 0


if __name__ == "__main__":
    sys.exit(main())
