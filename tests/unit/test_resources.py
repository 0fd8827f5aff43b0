"""CPUs are counted as the kernel grants them, and shared out among processes."""

import os
import subprocess
import sys

import pytest

from transcription_worker.resources import cpu_count, shows_gpu, thread_environment


def test_no_more_cpus_than_the_scheduler_allows():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cpu_count() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    ("names", "there"), [((), False), (("nvidiactl", "nvidia-uvm"), False), (("nvidiactl", "nvidia3"), True)]
)
def test_a_card_is_one_that_has_a_device_and_not_its_driver_alone(tmp_path, names, there):
    for name in names:
        (tmp_path / name).touch()
    assert shows_gpu(tmp_path) is there


@pytest.mark.parametrize(("cpus", "processes", "threads"), [(8, 1, "8"), (8, 3, "2"), (2, 5, "1")])
def test_processes_share_the_cpus(monkeypatch, cpus, processes, threads):
    monkeypatch.setattr("transcription_worker.resources.cpu_count", lambda: cpus)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert thread_environment(processes) == {"OMP_NUM_THREADS": threads}


def test_the_user_s_own_number_stands(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert thread_environment(2) == {"OMP_NUM_THREADS": "3"}


ARENAS = """
import ctypes, sys, threading
from transcription_worker.resources import share_heaps

if sys.argv[1] == "shared":
    share_heaps()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
everybody = threading.Barrier(9)

def allocate():
    libc.malloc(50_000)
    everybody.wait()
    everybody.wait()

for _ in range(8):
    threading.Thread(target=allocate, daemon=True).start()
everybody.wait()
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info(0, libc.fdopen(1, b"w"))
libc.fflush(None)
everybody.wait()
"""


@pytest.mark.skipif(os.confstr("CS_GNU_LIBC_VERSION") is None, reason="counts the heaps of glibc")
def test_threads_share_heaps():
    def heaps(how: str) -> int:
        command = [sys.executable, "-c", ARENAS, how]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.count("<heap nr=")

    assert heaps("shared") <= max(2, cpu_count())
    assert heaps("apart") > heaps("shared")
