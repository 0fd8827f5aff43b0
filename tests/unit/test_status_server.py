"""The worker's HTTP server, and that no client can hold it up."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http import HTTPStatus

import pytest

from transcription_worker import status_server
from transcription_worker.errors import ConfigurationError
from transcription_worker.status_server import MAX_CONNECTIONS, Address, Page, serving

LOCAL = Address("127.0.0.1", 0)


def fail() -> Page:
    raise ZeroDivisionError


ROUTES = {"/page": lambda: Page(HTTPStatus.OK, b"text\n"), "/broken": fail}


@pytest.fixture
def port() -> Iterator[int]:
    with serving(LOCAL, ROUTES) as port:
        yield port


def ask(port: int, method: str, path: str, host: str = "127.0.0.1") -> tuple[int, bytes, dict[str, str]]:
    with closing(http.client.HTTPConnection(host, port, timeout=10)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}


def raw(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def test_a_page_is_served_whatever_its_query(port: int) -> None:
    status, body, headers = ask(port, "GET", "/page?x=1")
    assert (status, body) == (200, b"text\n")
    assert (headers["content-type"], headers["cache-control"]) == ("text/plain; charset=utf-8", "no-store")
    assert "Python" not in headers["server"]


def test_head_gives_the_length_and_no_body(port: int) -> None:
    status, body, headers = ask(port, "HEAD", "/page")
    assert (status, body, headers["content-length"]) == (200, b"", "5")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "NONSENSE"])
def test_nothing_else_is_understood(port: int, method: str) -> None:
    assert ask(port, method, "/page")[0] == 501


def test_an_unknown_page_says_which_there_are(port: int) -> None:
    status, body, _ = ask(port, "GET", "/../../etc/passwd")
    assert (status, body) == (404, b"There are /page, /broken.\n")


def test_a_page_that_fails_costs_only_its_request(port: int) -> None:
    assert ask(port, "GET", "/broken")[0] == 500
    assert ask(port, "GET", "/page")[0] == 200


def test_a_request_without_an_end_is_cut_off_in_time(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_server, "HEAD_SECONDS", 0.5)
    with raw(port) as slow:
        started = time.monotonic()
        answer = b""
        while time.monotonic() - started < 10:
            try:
                slow.sendall(b"G")  # a byte now and then, as a slowloris does
                slow.settimeout(0.1)
                answer = slow.recv(100)
                break
            except TimeoutError:
                continue
            except OSError:
                break
        assert answer == b""
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "head",
    [
        b"GET /page HTTP/1.1\r\n" + b"X-Filler: 1234567890\r\n" * 5000,
        b"GET /" + b"x" * 100_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /page HTTP/9.9\r\n\r\n",
        b"GET //[ HTTP/1.1\r\n\r\n",
    ],
    ids=["endless headers", "endless path", "TLS", "empty", "no path", "no such version", "no URL"],
)
def test_nonsense_is_refused_and_the_next_request_is_served(port: int, head: bytes) -> None:
    with raw(port) as client:
        try:
            client.sendall(head)
            client.recv(1000)
        except ConnectionError:
            pass
    assert ask(port, "GET", "/page")[0] == 200


def test_connections_are_bounded_and_free_again_when_the_slow_ones_are_cut_off(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_server, "HEAD_SECONDS", 0.5)
    before = threading.active_count()
    with ExitStack() as idle:
        for _ in range(3 * MAX_CONNECTIONS):
            idle.enter_context(raw(port))
        deadline = time.monotonic() + 10
        most = 0
        served = False
        while not served:
            assert time.monotonic() < deadline
            most = max(most, threading.active_count() - before)
            try:
                served = ask(port, "GET", "/page")[0] == 200
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
        assert 0 < most <= MAX_CONNECTIONS


def test_a_client_that_never_takes_its_answer_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_server, "ANSWER_SECONDS", 60)
    large = {"/large": lambda: Page(HTTPStatus.OK, bytes(64 << 20))}
    with serving(LOCAL, large) as port:
        client = raw(port)
        client.sendall(b"GET /large HTTP/1.1\r\n\r\n")
        assert client.recv(10) == b"HTTP/1.0 2"
        started = time.monotonic()
    assert time.monotonic() - started < 5
    client.close()
    with pytest.raises(OSError, match="refused"):
        raw(port)


def test_a_port_in_use_is_one_sentence(port: int) -> None:
    with pytest.raises(ConfigurationError) as caught, serving(Address("127.0.0.1", port), ROUTES):
        pass
    assert str(caught.value) == f"Another process listens on 127.0.0.1:{port}; choose a free port with --listen."


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_of_no_one_here_is_one_sentence(host: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be listened on"), serving(Address(host, 0), ROUTES):
        pass


def test_no_host_means_every_address() -> None:
    with serving(Address("", 0), ROUTES) as port:
        assert ask(port, "GET", "/page")[0] == 200
        if socket.has_dualstack_ipv6():
            assert ask(port, "GET", "/page", host="::1")[0] == 200


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:8080", Address("0.0.0.0", 8080)),
        (":80", Address("", 80)),
        ("[::]:9", Address("::", 9)),
        ("localhost:0", Address("localhost", 0)),
    ],
)
def test_addresses_that_are_understood(text: str, address: Address) -> None:
    assert Address.parse(text) == address


@pytest.mark.parametrize("text", ["8080", "host", "::1:80", "host:http", "host:65536", "host:-1", "[::1]", ""])
def test_addresses_that_are_not(text: str) -> None:
    with pytest.raises(ValueError, match="write HOST:PORT"):
        Address.parse(text)
