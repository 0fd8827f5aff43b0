"""`transcription-worker drain`, the preStop hook: ask the worker to drain, wait until it is gone, then sweep.

A belt only: Kubernetes runs no preStop when a container ends by itself, and none on SIGKILL.
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
    result = sweep(scratch_root)
    log.info("worker %d drained; %s", pid, result)
    return ExitCode.OK


def _is_worker(pid: int) -> bool:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    called = any(b"transcription-worker" in a or b"transcription_worker" in a for a in arguments)
    return called and b"work" in arguments and state != "Z"


def _handles_sigterm(pid: int) -> bool:
    """As /proc/<pid>/status says (proc(5), SigCgt); True where it cannot be read."""
    try:
        caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return True
    return caught is None or bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)
