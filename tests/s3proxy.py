"""A proxy that stands before a real S3 server and breaks chosen answers: cut, lost, refused, slow.

It forwards requests as they are (the Host header is part of the signature, so the server must accept any), one per
connection.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `line` is its first line, `headers` its lower-cased headers."""

    line: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Pass:
    """Hand the server's answer on."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Hand on the head and so many bytes of the body, then close the connection."""

    after: int


@dataclass(frozen=True, slots=True)
class Lose:
    """Let the server act, and close the connection without a word."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer with an S3 error, to HEAD without its body; the server sees the request only where it `acted` on it."""

    status: int
    code: str
    acted: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection (RST) after so many bytes of the answer; None: the server never sees the request."""

    after: int | None = None


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Hand on a body that was changed on the way, under a head that fits its new length."""

    change: Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Damage:
    """Let the server see a body that was changed on the way, and hand its answer on."""

    change: Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Trickle:
    """Hand the answer on slowly, until the client has had enough."""

    bytes_per_second: int


@dataclass(frozen=True, slots=True)
class Hang:
    """Say nothing more after so many bytes of the answer, until the client leaves."""

    after: int = 0


@dataclass(frozen=True, slots=True)
class Pause:
    """Hand on so many bytes of the answer, and the rest once the event is set."""

    after: int
    until: threading.Event


Fault = Pass | Cut | Lose | Refuse | Reset | Rewrite | Damage | Trickle | Hang | Pause


@dataclass
class Proxy:
    endpoint: str
    requests: list[Request] = field(default_factory=list)


@contextmanager
def faulty(endpoint: str, fault: Callable[[Request, int], Fault], *, address: str = "127.0.0.1") -> Iterator[Proxy]:
    """Serve a proxy for `endpoint` at an address of this machine; `fault(request, n)` decides about the n-th request
    (from 0)."""
    target = urlsplit(endpoint)
    assert target.hostname and target.port
    upstream = (target.hostname, target.port)
    listener = socket.create_server((address, 0))
    proxy = Proxy(f"http://{address}:{listener.getsockname()[1]}")
    lock = threading.Lock()
    threads: list[threading.Thread] = []

    def handle(connection: socket.socket) -> None:
        with connection, suppress(ConnectionError):
            head, body = _read_request(connection)
            if not head:
                return
            request = _parse(head)
            with lock:
                number = len(proxy.requests)
                proxy.requests.append(request)
            _answer(connection, upstream, head, body, fault(request, number))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=handle, args=(connection,), daemon=True)
            thread.start()
            threads.append(thread)

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield proxy
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(10)
        for thread in threads:
            thread.join(10)


def _answer(connection: socket.socket, upstream: tuple[str, int], head: bytes, body: bytes, fault: Fault) -> None:
    if isinstance(fault, Refuse):
        if fault.acted:
            _ask(upstream, head, body)
        xml = f"<Error><Code>{fault.code}</Code><Message>refused by the test</Message></Error>".encode()
        start = f"HTTP/1.1 {fault.status} No\r\nContent-Type: application/xml\r\nContent-Length: {len(xml)}\r\n"
        connection.sendall(f"{start}Connection: close\r\n\r\n".encode() + (b"" if head.startswith(b"HEAD ") else xml))
        return
    if isinstance(fault, Reset) and fault.after is None:
        _reset(connection)
        return
    answer = _ask(upstream, head, fault.change(body) if isinstance(fault, Damage) else body)
    if isinstance(fault, Pass | Damage):
        connection.sendall(answer)
    elif isinstance(fault, Reset):
        connection.sendall(answer[: fault.after])
        _reset(connection)
    elif isinstance(fault, Rewrite):
        answer_head, _, answer_body = answer.partition(b"\r\n\r\n")
        changed = fault.change(answer_body)
        lines = [line for line in answer_head.split(b"\r\n") if not line.lower().startswith(b"content-length:")]
        connection.sendall(b"\r\n".join([*lines, b"Content-Length: %d" % len(changed), b"", changed]))
    elif isinstance(fault, Cut):
        end_of_head = answer.index(b"\r\n\r\n") + 4
        connection.sendall(answer[: end_of_head + fault.after])
    elif isinstance(fault, Trickle):
        piece = fault.bytes_per_second // 10
        for sent in range(0, len(answer), piece):
            connection.sendall(answer[sent : sent + piece])
            time.sleep(0.1)
    elif isinstance(fault, Pause):
        connection.sendall(answer[: fault.after])
        fault.until.wait()
        connection.sendall(answer[fault.after :])
    elif isinstance(fault, Hang):
        connection.sendall(answer[: fault.after])
        while connection.recv(1 << 16):
            pass


def _ask(upstream: tuple[str, int], head: bytes, body: bytes) -> bytes:
    with socket.create_connection(upstream) as server:
        server.sendall(head + body)
        return b"".join(iter(lambda: server.recv(1 << 16), b""))


def _reset(connection: socket.socket) -> None:
    """Closing with a linger time of zero sends RST instead of FIN (tcp(7), socket(7))."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _read_request(connection: socket.socket) -> tuple[bytes, bytes]:
    """Head, ready to be sent on with `Connection: close` and without Expect, and body."""
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(1 << 16)
        if not chunk:
            return b"", b""
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    headers = _parse(head).headers
    if "expect" in headers:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(1 << 16)
    kept = [line for line in head.split(b"\r\n") if not line.lower().startswith((b"expect:", b"connection:"))]
    return b"\r\n".join([*kept, b"Connection: close", b"", b""]), body


def _parse(head: bytes) -> Request:
    line, *rest = head.decode("latin-1").split("\r\n")
    pairs = (header.partition(":") for header in rest if header)
    return Request(line, {name.lower(): value.strip() for name, _, value in pairs})
