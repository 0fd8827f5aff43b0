"""The one exception of the test cluster."""

from __future__ import annotations


class ClusterError(Exception):
    """The cluster cannot start, run or stop here. The message is one sentence that says why and what to do."""
