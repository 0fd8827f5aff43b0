"""Models in an object store, on a real S3 server: fetched once, whole, the right one, whoever dies on the way."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3server import S3Server
from transcription_worker.errors import ConfigurationError, RetryableError
from transcription_worker.fault_points import VARIABLE, Point
from transcription_worker.flow import Stopped
from transcription_worker.model_cache import models_folder, sweep_partials
from transcription_worker.model_source import ModelRequest, ModelSource
from transcription_worker.scratch import Scratch

pytestmark = pytest.mark.s3

TINY = Path(__file__).parents[2] / "examples" / "models" / "tiny-ctc.nemo"
BODY = TINY.read_bytes()
DIGEST = hashlib.sha256(BODY).hexdigest()

FETCH = """
import logging, sys
from pathlib import Path
from transcription_worker.model_source import ModelRequest, ModelSource
from transcription_worker.scratch import Scratch
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
cache = Path(sys.argv[2])
with Scratch(cache / "scratch", min_free_bytes=0) as scratch:
    print("path", ModelSource(ModelRequest(uri=sys.argv[1])).fetch(cache, scratch), flush=True)
"""


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    with Scratch(tmp_path / "scratch", min_free_bytes=0) as scratch:
        return scratch


@pytest.fixture
def uri(bucket: str, s3_environment: S3Server) -> str:
    s3_environment.client().put_object(Bucket=bucket, Key="models/tiny.nemo", Body=BODY)
    return f"s3://{bucket}/models/tiny.nemo"


def whole_models(cache: Path) -> list[Path]:
    return sorted(models_folder(cache).glob("*.nemo"))


def partials(cache: Path) -> list[Path]:
    return sorted(models_folder(cache).glob("*.partial"))


def test_a_model_is_fetched_once_and_found_again(uri: str, tmp_path: Path, scratch: Scratch) -> None:
    source = ModelSource(ModelRequest(uri=uri))
    assert source.identity().startswith("s3:")
    first = source.fetch(tmp_path, scratch)
    assert first.read_bytes() == BODY
    inode = first.stat().st_ino
    assert ModelSource(ModelRequest(uri=uri)).fetch(tmp_path, scratch).stat().st_ino == inode
    assert whole_models(tmp_path) == [first]
    assert not partials(tmp_path)


def test_another_version_of_the_object_is_another_model(
    uri: str, bucket: str, s3_environment: S3Server, tmp_path: Path, scratch: Scratch
) -> None:
    before, first = ModelSource(ModelRequest(uri=uri)).identity(), ModelSource(ModelRequest(uri=uri))
    old = first.fetch(tmp_path, scratch)
    s3_environment.client().put_object(Bucket=bucket, Key="models/tiny.nemo", Body=BODY + bytes(1024))
    source = ModelSource(ModelRequest(uri=uri))
    assert source.identity() != before
    assert source.fetch(tmp_path, scratch) != old
    assert old.exists(), "a worker of another job may be loading it"


def test_a_pinned_model_is_verified_and_keeps_its_identity(uri: str, tmp_path: Path, scratch: Scratch) -> None:
    source = ModelSource(ModelRequest(uri=uri, sha256=DIGEST))
    assert source.identity() == f"sha256:{DIGEST}"
    assert source.fetch(tmp_path, scratch).name == f"{DIGEST}.nemo"
    told: list[int] = []
    assert source.fetch(tmp_path, scratch, told.append).name == f"{DIGEST}.nemo"
    assert told == [0], "before gigabytes are hashed, so that something else begins meanwhile"


def test_a_model_with_another_digest_never_gets_into_the_cache(uri: str, tmp_path: Path, scratch: Scratch) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ModelSource(ModelRequest(uri=uri, sha256="0" * 64)).fetch(tmp_path, scratch)
    assert DIGEST in str(caught.value)
    assert not whole_models(tmp_path)
    assert not partials(tmp_path)


def test_a_pinned_model_that_was_damaged_in_the_cache_is_fetched_again(
    uri: str, tmp_path: Path, scratch: Scratch
) -> None:
    source = ModelSource(ModelRequest(uri=uri, sha256=DIGEST))
    path = source.fetch(tmp_path, scratch)
    path.write_bytes(BODY[:-1] + b"x")
    assert source.fetch(tmp_path, scratch).read_bytes() == BODY


@pytest.mark.parametrize("key", ["models/none.nemo", "models", "none/tiny.nemo"])
def test_a_key_that_is_not_there(key: str, uri: str, bucket: str, tmp_path: Path, scratch: Scratch) -> None:
    source = ModelSource(ModelRequest(uri=f"s3://{bucket}/{key}"))
    for act in (source.identity, lambda: source.fetch(tmp_path, scratch)):
        with pytest.raises(ConfigurationError, match=key):
            act()


def test_a_bucket_that_is_not_there(s3_environment: S3Server) -> None:
    with pytest.raises(ConfigurationError, match="no-such-bucket"):
        ModelSource(ModelRequest(uri="s3://no-such-bucket/x.nemo")).identity()


def test_a_wrong_secret(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(ConfigurationError, match="denied"):
        ModelSource(ModelRequest(uri=uri)).identity()


def test_a_cache_that_cannot_be_written(uri: str, tmp_path: Path, scratch: Scratch) -> None:
    (tmp_path / "cache").write_text("a file where the cache should be")
    with pytest.raises(ConfigurationError, match="model cache"):
        ModelSource(ModelRequest(uri=uri)).fetch(tmp_path / "cache", scratch)


def start(uri: str, cache: Path, stops_at: Point | None = None) -> subprocess.Popen[str]:
    """A process that fetches; where it stops (SIGSTOP) on its way, it has done so."""
    environment = {**os.environ, **({VARIABLE: f"{stops_at}:1=SIGSTOP"} if stops_at else {})}
    command = [sys.executable, "-c", FETCH, uri, str(cache)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    if stops_at:
        change = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert change is not None and change.si_code == os.CLD_STOPPED
    return process


@pytest.fixture
def large(bucket: str, s3_environment: S3Server, tmp_path: Path) -> Iterator[str]:
    """An object that takes a while: zeros, written to disk once."""
    file = tmp_path / "large"
    with file.open("wb") as sparse:
        sparse.truncate(256 << 20)
    s3_environment.client().upload_file(str(file), bucket, "large.nemo")
    file.unlink()
    yield f"s3://{bucket}/large.nemo"
    s3_environment.client().delete_object(Bucket=bucket, Key="large.nemo")


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    """For large models: pytest would keep them for three runs."""
    yield tmp_path / "cache"
    shutil.rmtree(tmp_path / "cache")


@pytest.mark.slow
def test_of_two_processes_one_fetches_and_the_other_waits(large: str, cache: Path) -> None:
    first = start(large, cache, Point.MODEL_BEGUN)
    second = start(large, cache)
    try:
        assert second.stdout is not None
        assert any("waiting for it" in line for line in second.stdout)
    finally:
        first.send_signal(signal.SIGCONT)
        said = [worker.communicate(timeout=120)[0] for worker in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0]
    assert ["fetched" in lines for lines in said] == [True, False]
    paths = {line for lines in said for line in lines.splitlines() if line.startswith("path")}
    assert len(paths) == 1
    assert not partials(cache)


@pytest.mark.slow
def test_who_waits_for_a_frozen_process_fetches_the_model_for_itself(
    large: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lives and may go on, so what it has begun stays its own; but nobody waits for it without an end."""
    monkeypatch.setattr("transcription_worker.model_cache.STANDSTILL_SECONDS", 1.0)
    frozen = start(large, cache, Point.MODEL_FETCHED)
    try:

        def drain(arrived: int) -> None:
            raise Stopped

        with Scratch(tmp_path / "scratch", min_free_bytes=0) as scratch:
            with pytest.raises(Stopped):
                ModelSource(ModelRequest(uri=large)).fetch(cache, scratch, drain)
            place = ModelSource(ModelRequest(uri=large)).fetch(cache, scratch)
            assert place.is_relative_to(scratch.path)
            assert place.stat().st_size == 256 << 20
        assert not place.exists()
        assert len(partials(cache)) == 1 and not whole_models(cache)
        frozen.send_signal(signal.SIGCONT)
        assert "fetched" in frozen.communicate(timeout=120)[0]
        assert len(whole_models(cache)) == 1 and not partials(cache)
    finally:
        frozen.kill()
        frozen.communicate()


@pytest.mark.slow
def test_what_a_killed_process_had_fetched_goes_with_the_next_sweep_and_not_before(large: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    worker = start(large, cache, Point.MODEL_FETCHED)
    try:
        assert sweep_partials(cache) == 0, "its owner is alive"
        assert partials(cache)
    finally:
        worker.kill()
        worker.communicate()
    assert partials(cache), "it was killed in the middle"
    assert not whole_models(cache)
    assert sweep_partials(cache) == 1
    assert not partials(cache)
    again = start(large, cache)
    assert "fetched" in again.communicate(timeout=120)[0]
    assert len(whole_models(cache)) == 1


@pytest.mark.root
def test_a_full_cache_leaves_nothing_behind(large: str, cache: Path, scratch: Scratch) -> None:
    cache.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(cache)], check=True)
    try:
        with pytest.raises(RetryableError, match="No space left in the model cache"):
            ModelSource(ModelRequest(uri=large)).fetch(cache, scratch)
        assert not partials(cache)
        assert not whole_models(cache)
    finally:
        subprocess.run(["umount", str(cache)], check=True)
