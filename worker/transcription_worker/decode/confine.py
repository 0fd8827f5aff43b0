"""What the decoding process does to itself before it touches a file: limits, signals, and how it dies.

Linux has all of it; elsewhere what is missing is left out, and the end of standard input still ends the child.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
NICENESS = 10
"""Where model and decoders share CPUs the model goes first: decoding then fills the moments that it leaves free, and
has them to itself as soon as the model runs out of audio."""


def confine(parent: int, memory_limit_bytes: int) -> None:
    """Tie this process's life to `parent` (its pid), bound its memory, and let it write no file and no core.

    Ctrl-C and a SIGTERM to the process group are the parent's to answer: it ends the child when it has drained.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        # It died before the kernel knew whom to watch.
        os._exit(1)
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _lower(resource.RLIMIT_AS, memory_limit_bytes)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, 0)


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(limit, (value, value))
