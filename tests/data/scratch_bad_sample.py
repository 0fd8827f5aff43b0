# ruff: noqa
"""Every way to leak that scripts/verify_scratch.py must find, one per line. Never run."""

import importlib
import io
import os
import shutil
import tempfile as t  # FAULT: tempfile
from os import open as os_open
from pathlib import Path
from shutil import copyfile as duplicate
from tempfile import mkstemp  # FAULT: tempfile

import numpy as np
import soundfile

from transcription_worker.scratch import Scratch

hidden = importlib.import_module("tempfile")  # FAULT: tempfile
also_hidden = __import__("tempfile")  # FAULT: tempfile


def leaks_by_tempfile() -> None:
    t.NamedTemporaryFile(delete=False)  # FAULT: writes
    t.mkdtemp()  # FAULT: writes
    mkstemp()  # FAULT: writes
    hidden.mkdtemp()  # FAULT: writes


def leaks_by_opening(path: Path, mode: str) -> None:
    open(path, "wb")  # FAULT: writes
    open(path, mode="x")  # FAULT: writes
    open(path, mode)  # FAULT: writes
    io.open(path, "r+b")  # FAULT: writes
    path.open("a")  # FAULT: writes
    path.open(mode=mode)  # FAULT: writes
    os.open(path, os.O_WRONLY | os.O_CREAT)  # FAULT: writes
    os_open(path, os.O_RDWR | os.O_TMPFILE)  # FAULT: writes


def leaks_by_calls(path: Path, samples: "np.ndarray[tuple[int], np.dtype[np.float32]]") -> None:
    path.write_bytes(b"")  # FAULT: writes
    path.write_text("")  # FAULT: writes
    path.touch()  # FAULT: writes
    (path / "x").mkdir(parents=True)  # FAULT: writes
    path.rename("y")  # FAULT: writes
    path.replace(path)  # FAULT: writes
    os.makedirs(path)  # FAULT: writes
    shutil.copytree(path, path)  # FAULT: writes
    duplicate(path, path)  # FAULT: writes
    shutil.unpack_archive(path)  # FAULT: writes
    np.save(path, samples)  # FAULT: writes
    samples.tofile(path)  # FAULT: writes
    soundfile.write(path, samples, 16000)  # FAULT: writes


def removes_on_success_only(scratch: Scratch) -> None:
    path = scratch.new_path("wav")  # FAULT: no-finally
    path.write_bytes(b"audio")  # FAULT: writes
    scratch.remove(path)


def removes_on_errors_only(scratch: Scratch) -> None:
    path = scratch.new_path("wav")  # FAULT: no-finally
    try:
        path.write_bytes(b"audio")  # FAULT: writes
    except OSError:
        scratch.remove(path)
        raise


def writes_before_the_try(scratch: Scratch) -> None:
    path = scratch.new_path("wav")  # FAULT: no-finally
    path.write_bytes(b"audio")  # FAULT: writes
    try:
        print(path.stat())
    finally:
        scratch.remove(path)


def names_it_inside_the_try(scratch: Scratch) -> None:
    try:
        path = scratch.new_path("wav")  # FAULT: no-finally
        path.write_bytes(b"audio")  # FAULT: writes
    finally:
        scratch.remove(path)


def may_fail_before_it_removes(scratch: Scratch) -> None:
    path = scratch.new_path("wav")  # FAULT: late
    try:
        path.write_bytes(b"audio")  # FAULT: writes
    finally:
        print(path.stat().st_size)
        scratch.remove(path)


def removes_sometimes(scratch: Scratch, keep: bool) -> None:
    path = scratch.new_path("wav")  # FAULT: late
    try:
        path.write_bytes(b"audio")  # FAULT: writes
    finally:
        if not keep:
            scratch.remove(path)


def removes_another(scratch: Scratch, other: Path) -> None:
    path: Path = scratch.new_path("wav")  # FAULT: late
    try:
        path.write_bytes(b"audio")  # FAULT: writes
    finally:
        scratch.remove(other)


def loses_the_first(scratch: Scratch) -> None:
    path = scratch.new_path("wav")  # FAULT: rebound
    try:
        path.write_bytes(b"audio")  # FAULT: writes
        path = path.with_suffix(".flac")
    finally:
        scratch.remove(path)


def gives_it_away(scratch: Scratch) -> Path:
    return scratch.new_path("wav")  # FAULT: unbound


def never_names_it(scratch: Scratch) -> None:
    scratch.new_path("wav").write_bytes(b"audio")  # FAULT: unbound  # FAULT: writes


def never_leaves(scratch: Scratch) -> None:
    path = scratch.file("wav").__enter__()  # FAULT: not-with
    print(path)
