"""A directory as an object store: what it holds, in which order, and what it refuses."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transcription_worker.errors import ConfigurationError, PreconditionFailed, Reason, RecordingError
from transcription_worker.store import local_write as local_write_module
from transcription_worker.store import open_store
from transcription_worker.store.local import LocalStore
from transcription_worker.store.local_write import LOCK, PENDING
from transcription_worker.store.protocol import IfAbsent, IfMatch


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(root, str(root))


def files_below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_what_was_put_is_found_again(store: LocalStore, tmp_path: Path) -> None:
    etag = store.put("a/b c.wav", b"hello", metadata={"ignored": "here"})
    found = store.head("a/b c.wav")
    assert found is not None
    assert (found.key, found.etag, found.size, dict(found.metadata)) == ("a/b c.wav", etag, 5, {})
    assert [(o.key, o.etag, o.size) for o in store.list()] == [("a/b c.wav", etag, 5)]
    assert store.get("a/b c.wav") == b"hello"
    store.fetch("a/b c.wav", etag, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"hello"
    path = store.local_path("a/b c.wav")
    assert path is not None and path.read_bytes() == b"hello"
    store.delete("a/b c.wav")
    store.delete("a/b c.wav")
    assert store.head("a/b c.wav") is None and list(store.list()) == []


def test_a_file_is_put_as_it_is(store: LocalStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3 << 20))
    store.put("big", source)
    assert store.get("big") == source.read_bytes()


def test_files_get_the_modes_that_the_umask_gives(store: LocalStore, root: Path) -> None:
    before = os.umask(0o027)
    try:
        etag = store.put("a", b"1")
        assert (root / "a").stat().st_mode & 0o777 == 0o640
        store.put("a", b"2", condition=IfMatch(etag))
        assert (root / "a").stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=6).filter(
    lambda name: name not in (".", "..")
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=st.sets(st.lists(names | st.sampled_from(["a", "a-", "a.b", "a0"]), min_size=1, max_size=3).map("/".join)))
def test_listing_has_the_order_of_s3(tmp_path_factory: pytest.TempPathFactory, keys: set[str]) -> None:
    store = open_store(str(tmp_path_factory.mktemp("order")))
    held = set()
    for key in keys:
        try:
            store.put(key, key.encode())
        except RecordingError:
            # A directory cannot hold both `a` and `a/b`.
            continue
        held.add(key)
    in_order = sorted(held, key=str.encode)
    assert [o.key for o in store.list()] == in_order
    for prefix in {key[:length] for key in held for length in range(len(key))}:
        if "" in prefix.split("/")[:-1] or {".", ".."} & set(prefix.split("/")[:-1]):
            continue
        assert [o.key for o in store.list(prefix)] == [k for k in in_order if k.startswith(prefix)]


def test_a_location_that_does_not_exist_is_empty(store: LocalStore) -> None:
    assert list(store.list()) == []
    assert store.head("x") is None
    with pytest.raises(RecordingError) as raised:
        store.get("x")
    assert raised.value.reason is Reason.NOT_FOUND


def test_conditions_hold(store: LocalStore, root: Path) -> None:
    first = store.put("k", b"1", condition=IfAbsent())
    with pytest.raises(PreconditionFailed):
        store.put("k", b"2", condition=IfAbsent())
    with pytest.raises(PreconditionFailed):
        store.put("k", b"2", condition=IfMatch("0-0-0"))
    second = store.put("k", b"2", condition=IfMatch(first))
    assert second != first
    with pytest.raises(PreconditionFailed):
        store.put("k", b"3", condition=IfMatch(first))
    with pytest.raises(PreconditionFailed):
        store.put("missing", b"3", condition=IfMatch(first))
    assert store.get("k") == b"2"
    store.put("k", b"4")
    assert store.get("k") == b"4"
    assert files_below(root) == {"k", LOCK}


def test_the_probe_finds_conditions_and_leaves_nothing(store: LocalStore, root: Path) -> None:
    assert store.supports_conditions()
    assert files_below(root) == {LOCK}
    assert list(store.list()) == []


def test_where_files_cannot_be_unnamed_writes_are_whole_all_the_same(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_write_module, "_open_unnamed", lambda directory: None)
    assert store.supports_conditions()
    etag = store.put("a/k", b"1", condition=IfAbsent())
    with pytest.raises(PreconditionFailed):
        store.put("a/k", b"2", condition=IfAbsent())
    store.put("a/k", b"22", condition=IfMatch(etag))
    assert store.get("a/k") == b"22"
    assert files_below(root) == {"a/k", LOCK}


def test_a_killed_writers_pending_file_is_unlisted_and_removed(store: LocalStore, root: Path) -> None:
    etag = store.put("k", b"1")
    (root / PENDING).parent.mkdir(exist_ok=True)
    (root / PENDING).write_bytes(b"of a killed writer")
    os.utime(root / PENDING, (1, 1))
    assert [o.key for o in store.list()] == ["k"]
    store.put("k", b"2", condition=IfMatch(etag))
    assert files_below(root) == {"k", LOCK}

    (root / PENDING).write_bytes(b"of a killed writer")
    assert store.abort_stale_uploads(3600) == 0
    os.utime(root / PENDING, (1, 1))
    assert store.abort_stale_uploads(3600) == 1
    assert files_below(root) == {"k", LOCK}


@pytest.mark.parametrize(
    "key", ["../x", "a/../x", "a/./x", "/etc/passwd", "a//b", "a/", ".", "..", "n\0ul", "x" * 256, "ü" * 128, "\ud800"]
)
def test_keys_that_name_no_file_below_are_refused(store: LocalStore, root: Path, key: str) -> None:
    for attempt in (
        lambda: store.put(key, b""),
        lambda: store.get(key),
        lambda: store.head(key),
        lambda: store.delete(key),
        lambda: store.local_path(key),
    ):
        with pytest.raises(RecordingError, match="cannot be a file below") as raised:
            attempt()
        assert raised.value.reason is Reason.STORE_ERROR and not raised.value.retryable
    assert not root.exists() or files_below(root) == set()


def test_links_lead_nowhere_outside(store: LocalStore, root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"s")
    root.mkdir()
    (root / "folder").symlink_to(tmp_path / "outside")
    (root / "file").symlink_to(tmp_path / "outside" / "secret")
    (root / "itself").symlink_to("itself")
    for key in ("folder/secret", "file", "folder/new", "itself", "itself/new"):
        for attempt in (
            lambda k=key: store.get(k),
            lambda k=key: store.put(k, b"x"),
            lambda k=key: store.local_path(k),
        ):
            with pytest.raises(RecordingError, match="leads out of") as raised:
                attempt()
            assert raised.value.reason is Reason.ACCESS_DENIED
    assert (tmp_path / "outside" / "secret").read_bytes() == b"s"
    assert not (tmp_path / "outside" / "new").exists()


def test_links_to_files_inside_are_files(store: LocalStore, root: Path) -> None:
    store.put("a/real", b"1")
    (root / "link").symlink_to("a/real")
    assert [o.key for o in store.list()] == ["a/real", "link"]
    assert store.get("link") == b"1"


def test_what_is_no_file_is_passed_over_with_a_warning(
    store: LocalStore, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.put("a/real", b"1")
    os.mkfifo(root / "pipe")
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to("a")
    (root / os.fsdecode(b"latin-\xe9")).write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert [o.key for o in store.list()] == ["a/real"]
    assert len(caplog.records) == 4
    with pytest.raises(RecordingError, match="is no file"):
        store.get("pipe")


def test_another_version_is_changed(store: LocalStore, root: Path, tmp_path: Path) -> None:
    etag = store.put("k", b"1")
    (root / "k").write_bytes(b"22")
    with pytest.raises(RecordingError) as raised:
        store.fetch("k", etag, tmp_path / "copy")
    assert raised.value.reason is Reason.CHANGED


def test_a_file_that_grows_while_it_is_copied_is_changed(
    store: LocalStore, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    etag = store.put("k", b"x" * 1000)
    expect = store._expect

    def grow_after_first_look(file: BinaryIO, etag: str, key: str) -> None:
        expect(file, etag, key)
        with (root / "k").open("ab") as appended:
            appended.write(b"more")

    monkeypatch.setattr(store, "_expect", grow_after_first_look)
    with pytest.raises(RecordingError) as raised:
        store.fetch("k", etag, tmp_path / "copy")
    assert raised.value.reason is Reason.CHANGED


def test_a_target_that_exists_is_left_alone(store: LocalStore, tmp_path: Path) -> None:
    etag = store.put("k", b"1")
    (tmp_path / "taken").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        store.fetch("k", etag, tmp_path / "taken")
    assert (tmp_path / "taken").read_bytes() == b"mine"


def test_a_file_and_a_folder_of_one_name_get_a_sentence(store: LocalStore) -> None:
    store.put("a/b", b"1")
    store.put("f", b"1")
    for key in ("a", "f/x"):
        with pytest.raises(RecordingError, match="a file and a directory would need the same name") as raised:
            store.put(key, b"2")
        assert not raised.value.retryable
        with pytest.raises(RecordingError, match=r"a file and a directory|is no file"):
            store.get(key)
        assert store.head(key) is None
    assert store.get("a/b") == b"1" and store.get("f") == b"1"


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_not_taken_for_somebody_s_commit(
    store: LocalStore, root: Path, make: Callable[[Path], None]
) -> None:
    root.mkdir()
    make(root / "a.json")
    assert store.head("a.json") is None
    with pytest.raises(RecordingError, match=r"what has that name is no file; move it away\.") as raised:
        store.put("a.json", b"{}", condition=IfAbsent())
    assert raised.value.reason is Reason.STORE_ERROR and not raised.value.retryable


def test_a_missing_input_and_a_file_as_location_get_a_sentence(store: LocalStore, root: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"{root} does not exist; create the directory"):
        store.check(write=False)
    store.check(write=True)
    assert files_below(root) == {LOCK}
    store.check(write=False)
    (root / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="is no directory"):
        LocalStore(root / "file", "file").check(write=False)
    with pytest.raises(ConfigurationError, match="is no directory"):
        LocalStore(root / "file", "file").check(write=True)


def test_a_lock_that_goes_from_hand_to_hand_is_waited_for(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each holder marks it: a long queue is no writer that stands still."""
    monkeypatch.setattr(local_write_module, "STANDSTILL_SECONDS", 1.0)
    etag = store.put("a", b"1")
    store.put("a", b"2", condition=IfMatch(etag))
    with (root / LOCK).open("rb+") as held, ThreadPoolExecutor(1) as pool:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = pool.submit(store.put, "a", b"3")
        for _ in range(30):
            assert not waiting.done()
            os.utime(held.fileno())
            time.sleep(0.1)
        fcntl.flock(held, fcntl.LOCK_UN)
        waiting.result(10)
    assert store.get("a") == b"3"


def test_a_filesystem_whose_lock_cannot_be_marked_can_be_written(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "utime", refuse)
    store.put("a", b"1")
    store.put("a", b"2")
    assert store.get("a") == b"2"


def test_a_lock_that_is_never_given_back_ends_with_a_sentence(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_write_module, "STANDSTILL_SECONDS", 0.3)
    etag = store.put("a", b"1")
    store.put("a", b"2", condition=IfMatch(etag))
    with (root / LOCK).open("rb+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RecordingError, match=r"a could not be written below .*another process has held .*frozen"):
            store.put("a", b"3")
    store.put("a", b"4")
    assert store.get("a") == b"4"
