"""Requests made by other processes: errors, interruptions and ends on either side, against a real S3 server."""

from __future__ import annotations

import os
import re
import resource
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.test_commit_races import SOURCE, of
from tests.integration.test_commit_races import committer as committer_of
from tests.jobs import command_line, descendants, wait_until
from tests.s3proxy import Fault, Hang, Pass, Pause, Request, Trickle, faulty
from tests.s3server import S3Server
from tests.store_processes import one_of, ready_processes
from transcription_worker.errors import ConfigurationError, PreconditionFailed, Reason, RecordingError
from transcription_worker.fault_points import VARIABLE, Point
from transcription_worker.store import Store, StoreSettings, open_store, with_processes
from transcription_worker.store.process import CHILD_MODULE, ChildLostError, Place, StoreProcesses
from transcription_worker.store.protocol import IfAbsent, IfMatch

pytestmark = pytest.mark.s3

MIB = 1 << 20


@pytest.fixture
def processes(s3_environment: S3Server) -> Iterator[StoreProcesses]:
    with ready_processes() as ready:
        yield ready


@pytest.fixture
def store(s3_environment: S3Server, bucket: str, processes: StoreProcesses) -> Store:
    return with_processes(open_store(f"s3://{bucket}/p"), processes)


def test_a_child_makes_the_requests(
    s3_environment: S3Server,
    bucket: str,
    processes: StoreProcesses,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They succeed where this process has not the secret for a single one."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    here = open_store(f"s3://{bucket}/p")
    store = with_processes(here, processes)
    etag = store.put("a", b"1")
    found = store.head("a")
    assert found is not None and found.etag == etag and store.get("a") == b"1"
    store.fetch("a", etag, tmp_path / "copy")
    store.delete("a")
    assert store.head("a") is None
    with pytest.raises(ConfigurationError):
        here.head("a")


def test_before_the_first_fetch_there_is_no_child(s3_environment: S3Server, bucket: str, tmp_path: Path) -> None:
    with StoreProcesses(1) as processes:
        store = with_processes(open_store(f"s3://{bucket}/p"), processes)
        etag = store.put("a", b"1")
        assert store.get("a") == b"1" and store.head("a")
        assert store_children() == []
        store.fetch("a", etag, tmp_path / "copy")
        assert store_children() == [one_of(processes).pid]


def test_errors_arrive_as_they_are(store: Store, tmp_path: Path) -> None:
    etag = store.put("a", b"1")
    with pytest.raises(PreconditionFailed):
        store.put("a", b"2", condition=IfAbsent())
    store.put("a", b"2", condition=IfMatch(etag))
    with pytest.raises(RecordingError, match=r"p/a is no longer the version") as changed:
        store.fetch("a", etag, tmp_path / "copy")
    assert changed.value.reason is Reason.CHANGED and not changed.value.retryable
    with pytest.raises(RecordingError, match="p/none") as absent:
        store.get("none")
    assert absent.value.reason is Reason.NOT_FOUND and store.head("none") is None
    with pytest.raises(RecordingError, match="at most 1,024 bytes") as long:
        store.put("k" * 2000, b"")
    assert long.value.reason is Reason.STORE_ERROR and not long.value.retryable, "as it was raised, not by its reason"
    (tmp_path / "taken").write_bytes(b"another's")
    with pytest.raises(FileExistsError) as taken:
        store.fetch("a", store.put("a", b"3"), tmp_path / "taken")
    assert "s3.py" in "".join(taken.value.__notes__), "for the log: where it was raised"


def test_what_nobody_expects_is_a_sentence_too(bucket: str, processes: StoreProcesses) -> None:
    """It becomes a line of a ledger."""
    with pytest.raises(RuntimeError, match=r"^ClientError: An error occurred \(404\)") as unexpected:
        one_of(processes).call(Place(bucket, "p/", StoreSettings()), "_head", "none")
    assert "\n" not in str(unexpected.value) and "s3.py" in "".join(unexpected.value.__notes__)


def test_a_wrong_secret_is_the_sentence_of_a_configuration_error(
    s3_environment: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with ready_processes() as processes, pytest.raises(ConfigurationError, match="AWS_SECRET_ACCESS_KEY"):
        with_processes(open_store(f"s3://{bucket}/p"), processes).get("a")


def test_many_threads_each_get_their_own_answers(store: Store, tmp_path: Path) -> None:
    def there_and_back(number: int) -> bytes:
        etag = store.put(f"{number}", b"%d" % number)
        store.fetch(f"{number}", etag, tmp_path / f"{number}")
        return (tmp_path / f"{number}").read_bytes() + store.get(f"{number}")

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(there_and_back, range(200))) == [b"%d%d" % (n, n) for n in range(200)]


def test_bodies_that_come_and_go_leave_no_memory_taken(store: Store, processes: StoreProcesses, tmp_path: Path) -> None:
    etag = store.put("long", bytes(8 * MIB))

    def fetch(number: int) -> None:
        store.fetch("long", etag, tmp_path / f"{number}")
        (tmp_path / f"{number}").unlink()
        store.put(f"{number}", bytes(5 * MIB))

    fetch(0)
    child = one_of(processes).pid
    before = resident_bytes(child)
    with ThreadPoolExecutor(24) as pool:
        list(pool.map(fetch, range(48)))
    assert resident_bytes(child) - before < 24 * MIB, "once more for each thread"


def test_what_arrived_is_told_chunk_by_chunk_and_may_end_the_fetch(
    s3_environment: S3Server, bucket: str, processes: StoreProcesses, tmp_path: Path
) -> None:
    """After its end nothing is written any more: the file may be removed, and the disk has its room again."""

    def slow(request: Request, number: int) -> Fault:
        return Trickle(2 * MIB) if request.line.startswith("GET") else Pass()

    body = os.urandom(6 * MIB)
    with faulty(s3_environment.endpoint, slow) as proxy:
        settings = StoreSettings(endpoint_url=proxy.endpoint)
        etag = open_store(f"s3://{bucket}/p", settings).put("long", body)
        store = with_processes(open_store(f"s3://{bucket}/p", settings), processes)
        told: list[int] = []
        store.fetch("long", etag, tmp_path / "whole", told.append)
        assert sum(told) == len(body) and len(told) >= 6
        assert (tmp_path / "whole").read_bytes() == body

        def stop(size: int) -> None:
            raise InterruptedError("enough")

        with pytest.raises(InterruptedError, match="enough"):
            store.fetch("long", etag, tmp_path / "part", stop)
        assert 0 < (tmp_path / "part").stat().st_size < len(body)
        child = one_of(processes).pid
        open_files = {link.readlink() for link in Path(f"/proc/{child}/fd").iterdir()}
        assert tmp_path / "part" not in open_files


def test_a_worker_that_ends_makes_no_new_file(
    s3_environment: S3Server, bucket: str, processes: StoreProcesses, tmp_path: Path
) -> None:
    """It closes its processes, then its scratch; threads that wait for a store are left behind."""
    ending, begun = threading.Event(), threading.Event()

    def arrived(size: int) -> None:
        begun.set()
        if ending.is_set():
            raise InterruptedError("the worker ends")

    def hang_once(request: Request, number: int) -> Fault:
        return Hang(2 * MIB) if number == 0 else Pass()

    etag = open_store(f"s3://{bucket}/p").put("long", bytes(4 * MIB))
    with faulty(s3_environment.endpoint, hang_once) as proxy, ThreadPoolExecutor(1) as pool:
        store = with_processes(open_store(f"s3://{bucket}/p", StoreSettings(endpoint_url=proxy.endpoint)), processes)
        fetch = pool.submit(store.fetch, "long", etag, tmp_path / "copy", arrived)
        assert begun.wait(30)
        ending.set()
        one_of(processes).close()
        with pytest.raises(InterruptedError, match="the worker ends"):
            fetch.result(30)
    assert not (tmp_path / "copy").exists()


class Told(str):
    """A text that tells when it is on its way."""

    sent: threading.Event

    def __reduce__(self) -> tuple[object, ...]:
        self.sent.set()
        return str, (str(self),)


def test_a_frozen_child_does_not_keep_the_worker_from_ending(store: Store, processes: StoreProcesses) -> None:
    """Also where somebody is in the middle of a call that fills the socket."""
    child = one_of(processes)
    os.kill(child.pid, signal.SIGSTOP)
    tag = Told("1")
    tag.sent = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        try:
            put = pool.submit(store.put, "a", bytes(8 * MIB), metadata={"tag": tag})
            assert tag.sent.wait(30)
            pool.submit(child.close).result(30)
        finally:
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
        assert put.result(30), "by this process"


def test_a_child_that_is_killed_is_done_without(
    s3_environment: S3Server,
    bucket: str,
    processes: StoreProcesses,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In the middle of a fetch: it is made again here, from its beginning and into the same file."""
    child = one_of(processes)

    def slow_once(request: Request, number: int) -> Fault:
        return Trickle(2 * MIB) if number == 1 else Pass()

    body = os.urandom(6 * MIB)
    with faulty(s3_environment.endpoint, slow_once) as proxy:
        store = with_processes(open_store(f"s3://{bucket}/p", StoreSettings(endpoint_url=proxy.endpoint)), processes)
        etag = store.put("long", body)
        kill = threading.Event()

        def kill_once(size: int) -> None:
            if not kill.is_set():
                kill.set()
                os.kill(child.pid, signal.SIGKILL)

        store.fetch("long", etag, tmp_path / "copy", kill_once)
        assert kill.is_set() and (tmp_path / "copy").read_bytes() == body
        assert processes.any() is None
        assert "a store process ended with -9" in caplog.text
        with pytest.raises(ChildLostError):
            child.call(Place(bucket, "p/", StoreSettings()), "head", "long")
        store.put("after", b"1", condition=IfAbsent())
        assert store.get("after") == b"1"


def test_a_commit_whose_answer_is_lost_with_the_child_is_this_jobs_own(
    s3_environment: S3Server, bucket: str, processes: StoreProcesses
) -> None:
    """It is made again and refused; what stands there is then seen to be nobody else's."""
    child = one_of(processes)
    never = threading.Event()

    def withhold_once(request: Request, number: int) -> Fault:
        return Pause(0, never) if number == 0 else Pass()

    with faulty(s3_environment.endpoint, withhold_once) as proxy, ThreadPoolExecutor(1) as pool:
        store = with_processes(open_store(f"s3://{bucket}/p", StoreSettings(endpoint_url=proxy.endpoint)), processes)
        committer = committer_of(store, "job", [])
        commit = pool.submit(committer.commit, of("job"), None)
        wait_until(lambda: open_store(f"s3://{bucket}/p").head("a.wav.json") is not None)
        os.kill(child.pid, signal.SIGKILL)
        assert commit.result(30) is None
        never.set()
        found = committer.find("a.wav")
    assert found is not None and committer.is_own(found, SOURCE.etag)


def test_what_arrived_raises_ends_the_fetch_also_where_the_child_is_gone(
    store: Store, processes: StoreProcesses, tmp_path: Path
) -> None:
    child = one_of(processes)
    told: list[int] = []

    def kill_and_raise(size: int) -> None:
        told.append(size)
        if len(told) == 1:
            descriptor = os.pidfd_open(child.pid)
            os.kill(child.pid, signal.SIGKILL)
            assert ended(descriptor, 30.0)
            raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough"):
        store.fetch("a", store.put("a", b"1"), tmp_path / "copy", kill_and_raise)
    assert told == [1]


def test_without_a_descriptor_left_the_worker_goes_on_without_children(
    s3_environment: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with StoreProcesses(2) as processes:
        first_free = os.dup(0)
        os.close(first_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (first_free, limits[1]))
        try:
            processes.start()
            processes.start()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert processes.any() is None
    (line,) = caplog.messages
    assert line.startswith("0 of 2 store processes could be started: ")


def test_nothing_is_left_of_a_child_when_the_processes_close(
    s3_environment: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    with ready_processes() as processes:
        child = one_of(processes).pid
    assert not Path(f"/proc/{child}").exists(), "it has been waited for"
    assert processes.any() is None
    processes.start()
    assert processes.any() is None, "closed is closed"
    assert set(Path("/proc/self/fd").iterdir()) <= before
    assert caplog.messages == []


def test_an_interruption_of_the_worker_is_none_of_a_child_that_starts(s3_environment: S3Server) -> None:
    with StoreProcesses(1) as processes:
        processes.start()
        (child,) = store_children()
        os.kill(child, signal.SIGINT)
        os.kill(child, signal.SIGTERM)
        assert one_of(processes).pid == child


def test_what_a_child_logs_is_a_line_of_the_workers_log(
    s3_environment: S3Server, capfd: pytest.CaptureFixture[str]
) -> None:
    """Else the operator takes it for last words, and a key could forge a line."""
    with ready_processes() as processes:
        one_of(processes).call(Place("no-such-bucket", "p\nq/", StoreSettings()), "abort_stale_uploads", 0.0)
    (line,) = capfd.readouterr().err.splitlines()
    assert re.match(
        r"[-\d]+ [:,\d]+ WARNING transcription_worker\.store\.s3: Left-overs in s3://no-such-bucket/p", line
    )


PARENT = """
import sys, time
from tests.store_processes import one_of
from transcription_worker.store.process import StoreProcesses

processes = StoreProcesses(1)
processes.start()
print(one_of(processes).pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_ends_with_the_worker_and_not_before(s3_environment: S3Server, end: signal.Signals) -> None:
    """Ctrl-C goes to all processes of a terminal, and the worker that drains still needs its requests."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        descriptor = os.pidfd_open(child)
        os.kill(child, signal.SIGINT)
        os.kill(child, signal.SIGTERM)
        assert not ended(descriptor, 1.0)
        parent.send_signal(end)
        parent.wait(30)
        assert ended(descriptor, 30.0)
    finally:
        parent.kill()
        parent.wait()


def test_a_fault_of_the_worker_is_none_of_its_children(
    s3_environment: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a test wants to happen in the worker is counted there alone."""
    monkeypatch.setenv(VARIABLE, f"{Point.PROBE_WRITTEN}:1")
    with ready_processes() as processes:
        one_of(processes).call(Place(bucket, "p/", StoreSettings()), "check", write=True)


def store_children() -> list[int]:
    return [pid for pid in descendants(os.getpid()) if CHILD_MODULE in command_line(pid)]


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def ended(descriptor: int, seconds: float) -> bool:
    """Whether the process behind a pidfd ends in that time."""
    return bool(select.select([descriptor], [], [], seconds)[0])
