"""`transcription-worker drain`, the preStop hook: ask the worker to drain, wait until it is gone, then sweep.

A belt only: Kubernetes runs no preStop when a container ends by itself, and none on SIGKILL.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path

from transcription_worker.errors import ConfigurationError, ExitCode
from transcription_worker.sweep import sweep

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1


def drain(pid: int, scratch_root: Path, timeout: float) -> ExitCode:
    """Send SIGTERM to a worker and wait for its end.

    Args:
        pid: the worker; 1 in a container whose entry point it is.
        timeout: seconds to wait; the kubelet's grace period goes on counting.

    Returns:
        OK when the worker has ended, RETRYABLE when it is still there.
    """
    if not _is_worker(pid):
        raise ConfigurationError(f"Process {pid} is no transcription worker: name the worker's process with --pid.")
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while _is_worker(pid):
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
