"""Who a worker says it is: claims count the deaths of its predecessors by it."""

from __future__ import annotations

import os
import socket

from transcription_worker.work_job import WorkerIdentity


def test_successor_in_a_pod_is_not_taken_for_its_predecessor(monkeypatch):
    lives = []
    for pod in ("calls-work-3-x7k2p", "calls-work-3-9qw4z"):  # index, host name and process id are the same
        monkeypatch.setenv("POD_NAME", pod)
        lives.append(str(WorkerIdentity(3, 4)))
    assert lives == [f"3/calls-work-3-x7k2p/{os.getpid()}", f"3/calls-work-3-9qw4z/{os.getpid()}"]


def test_worker_outside_a_pod_is_named_by_machine_and_process(monkeypatch):
    monkeypatch.delenv("POD_NAME", raising=False)
    assert str(WorkerIdentity(0, 1)) == f"0/{socket.gethostname()}/{os.getpid()}"
