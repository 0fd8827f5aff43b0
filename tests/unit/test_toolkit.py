"""The toolkit's import on a thread: what goes wrong there, and leaving in the middle of it."""

from __future__ import annotations

import io
import logging
import threading

import pytest

from transcription_worker import cli
from transcription_worker.engines import toolkit


def test_an_import_that_fails_beside_the_download_is_one_line_of_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ImportError("libcudart.so: no such file")

    monkeypatch.setattr(toolkit, "import_toolkit", fail)
    uncaught: list[object] = []
    monkeypatch.setattr(threading, "excepthook", uncaught.append)
    with caplog.at_level(logging.WARNING):
        toolkit.import_meanwhile()
        for thread in threading.enumerate():
            if thread.name == "import":
                thread.join(10)
    assert "the toolkit cannot be imported: ImportError: libcudart.so: no such file" in caplog.text
    assert not uncaught


class GoneReader(io.StringIO):
    def flush(self) -> None:
        raise BrokenPipeError


def test_a_worker_leaves_in_the_middle_of_an_import_without_waiting_for_python_s_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Left(BaseException):
        pass

    def leave(code: int) -> None:
        raise Left(code)

    monkeypatch.setattr(cli, "_call", lambda parser, argv: 75)
    monkeypatch.setattr("transcription_worker.cli.os._exit", leave)
    assert cli.worker_main(["work"]) == 75
    monkeypatch.setattr("transcription_worker.cli.logging.shutdown", lambda: None)
    monkeypatch.setattr("sys.stdout", GoneReader())
    with toolkit._importing, pytest.raises(Left, match="75"):
        cli.worker_main(["work"])
