"""An API server that misbehaves: a proxy of this machine in front of the real one, for one operator. Free of pytest.

`kubectl proxy` speaks TLS and shows the credentials; what stands here answers in its place from time to time, cuts
connections, keeps answers back and lets watches fall silent. Which request meets which fault follows from the seed and
from the order in which requests come.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.e2e.cluster import Cluster

SILENCE_SECONDS = 15.0
CHUNK = 1 << 16


class Fault(StrEnum):
    TOO_MANY_REQUESTS = "429"
    CONFLICT = "409"
    SERVER_ERROR = "500"
    CUT_BEFORE = "connection cut before the API server heard"
    CUT_AFTER = "connection cut before the answer"
    WATCH_CUT = "watch cut in the middle"
    WATCH_SILENT = "watch that falls silent"


READS = (Fault.TOO_MANY_REQUESTS, Fault.SERVER_ERROR, Fault.CUT_BEFORE, Fault.CUT_AFTER)
WRITES = (*READS, Fault.CONFLICT)
WATCHES = (Fault.TOO_MANY_REQUESTS, Fault.CUT_BEFORE, Fault.WATCH_CUT, Fault.WATCH_CUT, Fault.WATCH_SILENT)


@dataclass
class Misbehaviour:
    """How often requests and watches meet a fault (0..1), and how many did; `down` refuses everything."""

    share: float
    seed: int
    watches: float = 0.0
    down: bool = False
    met: Counter[Fault] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._lock = threading.Lock()

    def next(self, kinds: tuple[Fault, ...]) -> Fault | None:
        with self._lock:
            if self.down:
                return Fault.CUT_BEFORE
            if self._random.random() >= (self.watches if kinds is WATCHES else self.share):
                return None
            fault = self._random.choice(kinds)
            self.met[fault] += 1
            return fault

    def moment(self) -> float:
        """Seconds until a watch breaks."""
        with self._lock:
            return self._random.uniform(0.2, 4.0)


@contextmanager
def misbehaving(cluster: Cluster, folder: Path, how: Misbehaviour) -> Iterator[Path]:
    """A kubeconfig whose API server behaves like that."""
    command = [cluster.program, f"--kubeconfig={cluster.kubeconfig}", "proxy", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as upstream:
        try:
            assert upstream.stdout is not None
            port = int(upstream.stdout.readline().rpartition(":")[2])
            server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(how, port))
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield _kubeconfig(folder, server.server_address[1])
            finally:
                server.shutdown()
                server.server_close()
                thread.join()
        finally:
            upstream.terminate()


def _kubeconfig(folder: Path, port: int) -> Path:
    file = folder / "misbehaving.kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    file.write_text(json.dumps(config))
    return file


def _handler(how: Misbehaviour, upstream: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            watch = "watch=true" in self.path.lower()
            fault = how.next(WATCHES if watch else READS if self.command == "GET" else WRITES)
            if fault is Fault.CUT_BEFORE:
                self.cut()
            elif fault in (Fault.TOO_MANY_REQUESTS, Fault.CONFLICT, Fault.SERVER_ERROR):
                self.refuse(int(fault))
            else:
                with suppress(OSError, http.client.HTTPException):
                    self.forward(body, fault)
                if fault:
                    self.cut()

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

        def refuse(self, code: int) -> None:
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "for a test"}
            body = json.dumps({**status, "reason": {409: "Conflict", 429: "TooManyRequests"}.get(code, "")}).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if code == 429:
                self.send_header("Retry-After", "1")
            self.end_headers()
            self.wfile.write(body)

        def forward(self, body: bytes, fault: Fault | None) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", upstream, timeout=600)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
            try:
                connection.request(self.command, self.path, body or None, headers)
                if fault in (Fault.WATCH_CUT, Fault.WATCH_SILENT):
                    breaker = threading.Timer(how.moment(), connection.sock.shutdown, (socket.SHUT_RDWR,))
                    breaker.daemon = True
                    breaker.start()
                answer = connection.getresponse()
                if fault is Fault.CUT_AFTER:
                    answer.read()
                    return
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() in ("content-type", "retry-after"):
                        self.send_header(name, value)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.flush()
                while chunk := answer.read1(CHUNK):
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                if fault is Fault.WATCH_SILENT:
                    self.connection.settimeout(SILENCE_SECONDS)
                    with suppress(TimeoutError):
                        self.connection.recv(1)  # nothing comes but the end
                elif fault is None:
                    self.wfile.write(b"0\r\n\r\n")
            finally:
                connection.close()

        def cut(self) -> None:
            """As a proxy that dies: a reset, not an end."""
            self.close_connection = True
            with suppress(OSError):
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                self.connection.close()

        def log_message(self, *args: object) -> None:
            pass

    return Handler
