"""A child that does not outlive its parent, however the parent ends."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal this process gets when its parent dies."""

INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM)


def _hold_back_interruptions() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTIONS)


_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner", initializer=_hold_back_interruptions)


def spawn(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """`subprocess.Popen` for a child that dies with its parent, from any thread. SIGINT and SIGTERM are blocked in it:
    Ctrl-C goes to a whole process group, and is the parent's to answer from the child's first moment.

    Linux means by the parent the *thread* that started the child, and a pipeline's threads come and go: the one that
    starts it here lives as long as the interpreter.
    """
    return _spawner.submit(lambda: subprocess.Popen(command, **options)).result()


def die_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """Ask Linux for `number` when the parent dies; elsewhere nothing happens."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:  # it died in between
        os.kill(os.getpid(), number)
