"""Models by name, against a server that speaks the hub's download protocol, and with no hub at all."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from transcription_worker.model_cache import hub_folder

TINY = Path(__file__).parents[2] / "examples" / "models" / "tiny-ctc.nemo"
BODY = TINY.read_bytes()
DIGEST = hashlib.sha256(BODY).hexdigest()

FETCH = """
import sys
from pathlib import Path
from transcription_worker.errors import TranscriptionError
from transcription_worker.model_source import ModelRequest, ModelSource
from transcription_worker.scratch import Scratch
cache, name, pin = sys.argv[1:]
with Scratch(Path(cache) / "scratch", min_free_bytes=0) as scratch:
    try:
        print(ModelSource(ModelRequest(name=name, sha256=pin or None)).fetch(Path(cache), scratch))
    except TranscriptionError as error:
        print(type(error).__name__, error)
"""


class Hub(ThreadingHTTPServer):
    """Serves TINY as `nvidia/tiny`; `nvidia/gated` needs terms, `nvidia/bare` has no .nemo, all else is unknown."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.downloads = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        if self.path.startswith("/nvidia/tiny/resolve/") and self.path.endswith("/tiny.nemo"):
            self.send_response(200)
            self.send_header("ETag", f'"{DIGEST}"')
            self.send_header("X-Repo-Commit", "c" * 40)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            if with_body:
                self.server.downloads += 1
                self.wfile.write(BODY)
            return
        code = "RepoNotFound"
        if self.path.startswith("/nvidia/gated/"):
            code = "GatedRepo"
        if self.path.startswith("/nvidia/bare/"):
            code = "EntryNotFound"
        self.send_response(403 if code == "GatedRepo" else 404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def fetch(cache: Path, name: str, *, endpoint: str, pin: str = "", **environment: str) -> str:
    """In a process of its own: the hub's library reads its settings when it is imported."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", FETCH, str(cache), name, pin],
        env={**clean, "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stdout.strip().splitlines()) == 1
    return done.stdout.strip()


def test_a_model_is_downloaded_once_and_found_again(hub: Hub, tmp_path: Path) -> None:
    first = fetch(tmp_path, "nvidia/tiny", endpoint=hub.endpoint)
    assert first.endswith("tiny.nemo")
    assert Path(first).read_bytes() == BODY
    assert Path(first).is_relative_to(hub_folder(tmp_path))
    assert fetch(tmp_path, "nvidia/tiny", endpoint=hub.endpoint, pin=DIGEST) == first
    assert hub.downloads == 1


def test_without_a_way_to_the_hub_the_cached_model_does(hub: Hub, tmp_path: Path) -> None:
    first = fetch(tmp_path, "nvidia/tiny", endpoint=hub.endpoint)
    assert fetch(tmp_path, "nvidia/tiny", endpoint=hub.endpoint, HF_HUB_OFFLINE="1") == first


def test_a_partial_download_of_a_dead_process_is_removed(hub: Hub, tmp_path: Path) -> None:
    fetch(tmp_path, "nvidia/tiny", endpoint=hub.endpoint)
    orphan = hub_folder(tmp_path) / "models--nvidia--tiny" / "blobs" / f"{DIGEST}.0badf00d.incomplete"
    orphan.write_bytes(BODY[:1000])
    fetch(tmp_path, "nvidia/tiny", endpoint=hub.endpoint)
    assert not orphan.exists()


def test_another_digest_than_the_pinned_one(hub: Hub, tmp_path: Path) -> None:
    said = fetch(tmp_path, "nvidia/tiny", endpoint=hub.endpoint, pin="0" * 64)
    assert said.startswith("ConfigurationError")
    assert DIGEST in said


@pytest.mark.parametrize(
    ("name", "said"), [("nvidia/none", "no model nvidia/none"), ("nvidia/gated", "terms"), ("nvidia/bare", "bare.nemo")]
)
def test_what_the_hub_does_not_give_is_one_sentence(name: str, said: str, hub: Hub, tmp_path: Path) -> None:
    sentence = fetch(tmp_path, name, endpoint=hub.endpoint)
    assert sentence.startswith("ConfigurationError")
    assert said in sentence


@pytest.mark.slow
def test_a_name_without_a_hub_is_one_sentence_that_says_where_else(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{probe.getsockname()[1]}"  # bound and not listening: refused
        sentence = fetch(tmp_path, "nvidia/tiny", endpoint=closed)
        assert sentence.startswith("RetryableError")
        switched_off = fetch(tmp_path, "nvidia/tiny", endpoint=closed, HF_HUB_OFFLINE="1")
    assert switched_off.startswith("ConfigurationError")
    assert "HF_HUB_OFFLINE" in switched_off
    for said in (sentence, switched_off):
        assert "model.volume" in said
