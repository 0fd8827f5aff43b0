"""Memory of `work` does not depend on the length of a recording."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile as sf

from tests.jobs import Job, texts
from tests.speech import PHRASES, RATE, phrase

pytestmark = [pytest.mark.model, pytest.mark.slow]

ALLOWED = 500 << 20
"""Bytes that a worker may take over what the model takes by itself."""


def write_recording(path, seconds):
    """Phrases with a second of silence between them, until it is long enough; returns how many."""
    spoken = [np.pad(phrase(text), (0, RATE)) for text in PHRASES]
    written = count = 0
    with sf.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        while written < seconds * RATE:
            file.write(spoken[count % len(spoken)])
            written += len(spoken[count % len(spoken)])
            count += 1
    return count


def peak_of_work(tmp_path, name, seconds):
    """Peak resident bytes of the worker process over one recording of that length, and the words it wrote."""
    (tmp_path / name).mkdir()
    phrases = write_recording(tmp_path / name / "long.wav", seconds)
    output = tmp_path / f"{name}-out"
    job = Job.of(tmp_path / f"{name}-job", source=tmp_path / name, output=output)
    manifest = {**job.manifest, "metadata": {"name": "job", "uid": name}}
    environment = {
        **os.environ,
        "TRANSCRIPTION_JOB": json.dumps(manifest),
        "TRANSCRIPTION_SCRATCH": str(job.scratch),
        "TRANSCRIPTION_CACHE": str(tmp_path / "cache"),
    }
    worker = [sys.executable, "-m", "transcription_worker"]
    subprocess.run([*worker, "plan", "--local"], env=environment, check=True, capture_output=True)
    process = subprocess.Popen([*worker, "work", "--local", "--index", "0"], env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    words = texts(output)["long.wav"].split()
    expected = [word for n in range(phrases) for word in PHRASES[n % len(PHRASES)].split()]
    return usage.ru_maxrss * 1024, words, expected


def test_three_hours_take_no_more_memory_than_a_few_minutes(tmp_path):
    short, _, _ = peak_of_work(tmp_path, "short", 300)
    long, words, expected = peak_of_work(tmp_path, "long", 3 * 3600)
    print(f"peak of work: {short >> 20} MiB over 5 minutes, {long >> 20} MiB over 3 hours")
    assert long - short < ALLOWED
    assert abs(len(words) - len(expected)) <= len(expected) * 0.01
    assert words[:50] == expected[:50]
    assert words[-3:] == expected[-3:]
