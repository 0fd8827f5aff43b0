"""A child that does not outlive its parent, however the parent ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal this process gets when its parent dies."""


def die_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """Ask Linux for `number` when the parent dies; elsewhere nothing happens."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:  # it died in between
        os.kill(os.getpid(), number)
