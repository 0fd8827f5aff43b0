"""`transcription-worker drain`, the preStop hook: ask the worker to drain, wait until it is done, then sweep.

A belt only: Kubernetes runs no preStop when a container ends by itself, and none on SIGKILL.

The first process of a container takes every other one down with it (pid_namespaces(7)), so a hook that waits for its
end would be killed, would never sweep, and each drained pod would show a FailedPreStopHook. Therefore a worker that is
PID 1 says by its name (proc(5), comm) that it is done, and waits a moment for the hook.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import time
from pathlib import Path

from transcription_worker.errors import ConfigurationError, ExitCode
from transcription_worker.sweep import sweep

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
DONE = "drained"
"""What a worker calls itself when it has cleaned up and is about to end."""
HOOK_SECONDS = 10.0
"""What the hook has for its sweep."""


def drain(pid: int, scratch_root: Path, timeout: float) -> ExitCode:
    """Send SIGTERM to a worker, once it can hear it, and wait for its end.

    To the first process of a container the kernel delivers only signals that it handles (pid_namespaces(7)), so what
    comes while Python starts would be lost.

    Args:
        pid: the worker; 1 in a container whose entry point it is.
        timeout: seconds to wait; the kubelet's grace period goes on counting.

    Returns:
        OK when the worker has ended, RETRYABLE when it is still there.
    """
    if not _is_worker(pid):
        raise ConfigurationError(f"Process {pid} is no transcription worker: name the worker's process with --pid.")
    asked = False
    deadline = time.monotonic() + timeout
    while _is_worker(pid):
        if not asked and _handles_sigterm(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            asked = True
        if time.monotonic() > deadline:
            log.warning("worker %d still drains after %.0f s", pid, timeout)
            return ExitCode.RETRYABLE
        time.sleep(POLL_SECONDS)
    while _is_ending(pid) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS / 10)
    result = sweep(scratch_root)
    log.info("worker %d drained; %s", pid, result)
    return ExitCode.OK


def wait_for_hook() -> None:
    """Let a hook that waits for this process finish first; returns at once where there is none.

    Called by the first process of a container after it has cleaned up.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(DONE)
    deadline = time.monotonic() + HOOK_SECONDS
    while any(_runs(int(name), b"drain") for name in os.listdir("/proc") if name.isdecimal()):  # noqa: PTH208
        if time.monotonic() > deadline:
            return
        time.sleep(POLL_SECONDS / 2)


def _is_worker(pid: int) -> bool:
    try:
        return _runs(pid, b"work") and Path(f"/proc/{pid}/comm").read_text().strip() != DONE
    except OSError:
        return False


def _is_ending(pid: int) -> bool:
    """Whether a process is between its last instruction and its end: the kernel takes its memory, and with that its
    command line, before it closes its files, and with them drops its locks; and its threads end one by one."""
    try:
        if Path(f"/proc/{pid}/cmdline").read_bytes():
            return False
        stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:
        return False
    return any(stat.rpartition(")")[2].split()[0] not in "ZX" for stat in stats)


def _runs(pid: int, command: bytes) -> bool:
    """Whether a process is this program with that command, and alive."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    called = any(b"transcription-worker" in a or b"transcription_worker" in a for a in arguments)
    return called and command in arguments and state != "Z"


def _handles_sigterm(pid: int) -> bool:
    """As /proc/<pid>/status says (proc(5), SigCgt); True where it cannot be read."""
    try:
        caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return True
    return caught is None or bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)
