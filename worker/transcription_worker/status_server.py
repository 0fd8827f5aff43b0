"""A small HTTP server beside the work: a few pages, GET and HEAD, on daemon threads.

Whoever connects may be slow, many or hostile, and costs the work nothing: the number of connections at once is bounded,
the request's head has a size and a time in which it must have come, and each answer has one in which it must have been
taken. What the pages say is `worker_pages.py`.
"""

from __future__ import annotations

import errno
import io
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from transcription_worker.errors import ConfigurationError

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 16
MAX_HEAD_BYTES = 16 << 10
HEAD_SECONDS = 2.0
ANSWER_SECONDS = 5.0
"""For each of the answer's two parts."""
POLL_SECONDS = 0.2

TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Page:
    """One answer."""

    status: HTTPStatus
    body: bytes
    content_type: str = TEXT


Routes = Mapping[str, Callable[[], Page]]


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; no host means every address of the machine, over IPv6 and IPv4."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """`host:port`, `:port` or `[IPv6]:port`. Raises ValueError with a sentence."""
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        plain = host[1:-1] if bracketed else host
        if not colon or not port.isdecimal() or int(port) > 65535 or (":" in plain) != bracketed:
            raise ValueError(f"{text!r} is no address: write HOST:PORT, such as 0.0.0.0:8080 or [::]:8080")
        return cls(plain, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@contextmanager
def serving(address: Address, routes: Routes) -> Iterator[int]:
    """Answer while the block runs; gives the port, which is a free one where the address says 0.

    Raises:
        ConfigurationError: the address is taken, or none of this machine's.
    """
    server = _listen(address, routes)
    thread = threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), name="http", daemon=True)
    thread.start()
    port = int(server.server_address[1])
    log.info("listening on %s", Address(address.host, port))
    try:
        yield port
    finally:
        server.shutdown()
        server.server_close()


def _listen(address: Address, routes: Routes) -> _Server:
    try:
        return _Server(address, routes)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            sentence = f"Another process listens on {address}; choose a free port with --listen."
        else:
            sentence = f"{address} cannot be listened on ({error.strerror or error}); correct --listen."
        raise ConfigurationError(sentence) from error


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 4 * MAX_CONNECTIONS

    def __init__(self, address: Address, routes: Routes) -> None:
        self.routes = routes
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._both_families = not address.host and socket.has_dualstack_ipv6()
        if self._both_families or ":" in address.host:
            self.address_family = socket.AF_INET6
        super().__init__((address.host, address.port), _Handler)

    def server_bind(self) -> None:
        """Without the look-up of the host's name that HTTPServer does: a resolver that is away would take seconds."""
        if self._both_families:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._slots.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a connection from %s broke", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "transcription-worker"
    sys_version = ""

    def setup(self) -> None:
        super().setup()
        self.rfile = io.BytesIO(self._head())
        self.connection.settimeout(ANSWER_SECONDS)

    def _head(self) -> bytes:
        """The request up to its empty line; nothing where it does not come whole and in time."""
        leave_by = time.monotonic() + HEAD_SECONDS
        head = b""
        while b"\r\n\r\n" not in head and b"\n\n" not in head:
            left = leave_by - time.monotonic()
            if left <= 0 or len(head) > MAX_HEAD_BYTES:
                return b""
            self.connection.settimeout(left)
            try:
                received = self.connection.recv(4096)
            except OSError:
                return b""
            if not received:
                return b""
            head += received
        return head

    def do_GET(self) -> None:
        page = self._page(self.path.partition("?")[0])
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)

    do_HEAD = do_GET  # noqa: N815  the name is http.server's

    def _page(self, path: str) -> Page:
        make = self.server.routes.get(path)
        if make is None:
            return Page(HTTPStatus.NOT_FOUND, f"There are {', '.join(self.server.routes)}.\n".encode())
        try:
            return make()
        except Exception:
            log.exception("the page %s could not be made", path)
            return Page(HTTPStatus.INTERNAL_SERVER_ERROR, b"The worker's log says what went wrong.\n")

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)
