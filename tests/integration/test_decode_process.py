"""What a recording can do to its decoding process costs that recording and nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

from tests.chaos.fuzz_bombs import matroska_compressed, mp4_compressed_index
from transcription_worker.decode import DecodedStream, Decoder, DecodeRequest
from transcription_worker.decode.recording import BLOCK_SECONDS
from transcription_worker.errors import Reason, RecordingError

RATE = 16_000
LONG_SECONDS = 120
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc: needs Linux")


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Far more than a pipe holds: the child is in the middle of it for as long as nobody reads."""
    path = tmp_path_factory.mktemp("process") / "long.wav"
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, LONG_SECONDS * RATE)
    soundfile.write(path, samples, RATE, subtype="PCM_16")
    return path


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    with Decoder() as decoder:
        yield decoder


def start(decoder: Decoder, path: Path, rate: int = RATE) -> DecodedStream:
    return decoder.decode(DecodeRequest(path, "mix", rate, 36_000.0))


def assert_decodes(decoder: Decoder, path: Path) -> None:
    stream = start(decoder, path)
    assert sum(block.shape[1] for block in stream) == LONG_SECONDS * RATE
    assert stream.seconds == LONG_SECONDS


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """No such process, and no zombie of it either."""
    return not psutil.pid_exists(pid)


def ended(pid: int) -> bool:
    """Gone, or a zombie that its parent or an init process has yet to collect.

    A killed process is listed as a zombie while its other threads still end; only then can it be collected.
    """
    try:
        return (
            psutil.Process(pid).status() == psutil.STATUS_ZOMBIE and len(list(Path(f"/proc/{pid}/task").iterdir())) == 1
        )
    except (psutil.NoSuchProcess, FileNotFoundError):
        return True


def wake(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def child_of(decoder: Decoder) -> int:
    assert decoder.child_pid is not None
    return decoder.child_pid


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGKILL])
def test_a_native_crash_costs_one_recording(decoder: Decoder, long_recording: Path, number: signal.Signals) -> None:
    stream = iter(start(decoder, long_recording))
    next(stream)
    os.kill(child_of(decoder), number)
    with pytest.raises(RecordingError, match=number.name) as caught:
        for _ in stream:
            pass
    assert caught.value.reason is Reason.DECODER_CRASHED
    assert caught.value.retryable
    assert_decodes(decoder, long_recording)


def test_a_child_that_cannot_even_start_is_said_to_have_ended(long_recording: Path, tmp_path: Path) -> None:
    with Decoder(environment={"PYTHONHOME": str(tmp_path)}) as decoder:
        for _ in range(2):
            with pytest.raises(RecordingError, match=r"long\.wav: the decoder ended without a word") as caught:
                list(start(decoder, long_recording))
            assert caught.value.reason is Reason.DECODER_CRASHED


def test_a_decoder_that_hangs_is_stopped(long_recording: Path) -> None:
    with Decoder(stall_seconds=3.0) as decoder:
        assert_decodes(decoder, long_recording)
        stream = iter(start(decoder, long_recording))
        next(stream)
        hanging = child_of(decoder)
        os.kill(hanging, signal.SIGSTOP)
        with pytest.raises(RecordingError, match="made no progress for 3 s") as caught:
            for _ in stream:
                pass
        assert caught.value.reason is Reason.TIMEOUT
        assert gone(hanging)


def test_a_slow_reader_is_no_stall(long_recording: Path) -> None:
    with Decoder(stall_seconds=2.0) as decoder:
        assert_decodes(decoder, long_recording)
        stream = iter(start(decoder, long_recording))
        next(stream)
        time.sleep(2.5)
        assert sum(block.shape[1] for block in stream) > 0


def test_a_memory_bomb_is_out_of_memory(decoder: Decoder, long_recording: Path, tmp_path: Path) -> None:
    """An index of a megabyte that inflates to 256."""
    bomb = tmp_path / "bomb.mov"
    bomb.write_bytes(mp4_compressed_index(256))
    with Decoder(memory_limit_bytes=400 << 20) as small:
        with pytest.raises(RecordingError, match=r"bomb\.mov needs more memory") as caught:
            for _ in start(small, bomb):
                pass
        assert caught.value.reason is Reason.OUT_OF_MEMORY
        assert_decodes(small, long_recording)


def test_a_second_of_many_channels_is_taken_in_parts(tmp_path: Path) -> None:
    """As float32 it takes 200 MB, in each of the steps from reading to resampling."""
    wide = tmp_path / "wide.wav"
    with soundfile.SoundFile(wide, "w", 768_000, 64, subtype="PCM_U8") as file:
        for _ in range(16):
            file.write(np.zeros((48_000, 64), np.int16))
    with Decoder(memory_limit_bytes=400 << 20) as small:
        assert sum(block.shape[1] for block in start(small, wide)) == RATE


def test_one_packet_of_many_minutes_comes_in_parts(decoder: Decoder, tmp_path: Path) -> None:
    packed = tmp_path / "packed.mka"
    packed.write_bytes(matroska_compressed(9, blocks=2))
    longest = max(block.shape[1] for block in start(decoder, packed))
    assert longest <= (BLOCK_SECONDS + 2) * RATE


def test_a_decoder_that_crawls_is_stopped(long_recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never silent for as long as a stall, and never done either."""
    monkeypatch.setattr("transcription_worker.decode.decoder.SLOWEST", 0.01)
    with Decoder(stall_seconds=3.0) as decoder:
        assert_decodes(decoder, long_recording)
        crawling = child_of(decoder)
        with pytest.raises(RecordingError, match=r"long\.wav: decoding it takes") as caught:
            for _ in start(decoder, long_recording):
                os.kill(crawling, signal.SIGSTOP)
                threading.Timer(0.4, wake, (crawling,)).start()
        assert caught.value.reason is Reason.TIMEOUT
        assert gone(crawling)


def test_memory_does_not_grow_with_the_recording(decoder: Decoder, tmp_path: Path) -> None:
    path = tmp_path / "hours.flac"
    with soundfile.SoundFile(path, "w", 8_000, 1, subtype="PCM_16") as file:
        for _ in range(40):
            file.write(np.zeros(180 * 8_000, np.int16))
    peak = 0
    for index, _ in enumerate(start(decoder, path)):
        if index % 200 == 0:
            peak = max(peak, psutil.Process(child_of(decoder)).memory_info().rss)
    # Two hours are 460 MB as float32 at 16 kHz; numpy and the libraries alone take some 60 MB.
    assert peak < 150 << 20


def test_a_child_that_nobody_reads_stops_writing(decoder: Decoder, long_recording: Path) -> None:
    stream = iter(start(decoder, long_recording))
    next(stream)
    child = psutil.Process(child_of(decoder))
    wait_until(lambda: child.status() == psutil.STATUS_SLEEPING, "the child sleeps in its write")
    before = child.io_counters().write_chars
    time.sleep(0.2)
    assert child.io_counters().write_chars == before
    assert before < 1 << 20


def test_leaving_a_recording_early_leaves_the_decoder_usable(decoder: Decoder, long_recording: Path) -> None:
    for block in start(decoder, long_recording):
        assert block.shape[0] == 1
        break
    with start(decoder, long_recording) as stream:
        assert stream.info.sample_rate == RATE
    start(decoder, long_recording)
    assert_decodes(decoder, long_recording)


def test_the_child_lives_on_from_recording_to_recording(decoder: Decoder, long_recording: Path, tmp_path: Path) -> None:
    assert_decodes(decoder, long_recording)
    first = decoder.child_pid
    page = tmp_path / "page.wav"
    page.write_text("<html>Access denied</html>")
    with pytest.raises(RecordingError, match="is no audio"):
        list(start(decoder, page))
    assert_decodes(decoder, long_recording)
    assert decoder.child_pid == first


def test_a_child_that_died_between_two_recordings_is_replaced(decoder: Decoder, long_recording: Path) -> None:
    assert_decodes(decoder, long_recording)
    dead = child_of(decoder)
    os.kill(dead, signal.SIGKILL)
    wait_until(lambda: ended(dead), "the child is dead")
    assert_decodes(decoder, long_recording)


def test_close_leaves_neither_process_nor_descriptor(long_recording: Path) -> None:
    with Decoder() as warm:
        assert_decodes(warm, long_recording)
    descriptors = psutil.Process().num_fds()
    decoder = Decoder()
    assert_decodes(decoder, long_recording)
    idle = child_of(decoder)
    decoder.close()
    assert gone(idle)
    stream = iter(start(decoder, long_recording))
    next(stream)
    busy = child_of(decoder)
    decoder.close()
    assert gone(busy)
    assert psutil.Process().num_fds() == descriptors


def test_the_child_outlives_the_thread_that_started_it(decoder: Decoder, long_recording: Path) -> None:
    """The kernel's death signal goes by the thread that forked, not by the process."""
    starter = threading.Thread(target=assert_decodes, args=(decoder, long_recording))
    starter.start()
    starter.join()
    first = decoder.child_pid
    assert_decodes(decoder, long_recording)
    assert decoder.child_pid == first


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_to_the_process_group_are_left_to_the_parent(
    decoder: Decoder, long_recording: Path, number: signal.Signals
) -> None:
    stream = iter(start(decoder, long_recording))
    next(stream)
    os.kill(child_of(decoder), number)
    assert sum(block.shape[1] for block in stream) == (LONG_SECONDS - BLOCK_SECONDS) * RATE


PARENT = """
import os, sys, time
from pathlib import Path
from transcription_worker.decode import Decoder, DecodeRequest
decoder = Decoder()
stream = iter(decoder.decode(DecodeRequest(Path(sys.argv[1]), "mix", 16000, 3600.0)))
next(stream)
print(decoder.child_pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("stopped", [False, True], ids=["running child", "stopped child"])
def test_no_child_survives_its_parent(long_recording: Path, stopped: bool) -> None:
    """A child in the middle of native code, which does not see the end of its input, dies by the kernel's signal."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, long_recording], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        if stopped:
            os.kill(child, signal.SIGSTOP)
    finally:
        parent.kill()
        parent.wait()
    assert parent.stdout is not None
    parent.stdout.close()
    wait_until(lambda: ended(child), "the child has ended with its parent")


def test_the_child_is_confined(monkeypatch: pytest.MonkeyPatch, long_recording: Path) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not for decoders")
    with Decoder(memory_limit_bytes=1 << 30) as decoder:
        assert_decodes(decoder, long_recording)
        child = psutil.Process(child_of(decoder))
        assert child.rlimit(psutil.RLIMIT_AS) == (1 << 30, 1 << 30)
        assert child.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        assert child.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
        assert "AWS_SECRET_ACCESS_KEY" not in child.environ()
        mapped = {Path(region.path).name for region in child.memory_maps()}
        assert not any(name.startswith(("libtorch", "libav")) for name in mapped)


def test_decoding_leaves_the_model_its_cpu_time(decoder: Decoder, long_recording: Path) -> None:
    assert_decodes(decoder, long_recording)
    assert psutil.Process(child_of(decoder)).nice() == min(19, psutil.Process().nice() + 10)


def test_an_interrupted_wait_costs_the_child_and_no_sense(
    decoder: Decoder, long_recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between header and body of a frame must not leave half a frame for the next recording."""
    stream = iter(start(decoder, long_recording))
    next(stream)
    readv = os.readv

    def interrupt(descriptor: int, buffers: list[memoryview]) -> int:
        readv(descriptor, buffers)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "readv", interrupt)
        with pytest.raises(KeyboardInterrupt):
            next(stream)
    assert decoder.child_pid is None
    assert_decodes(decoder, long_recording)
