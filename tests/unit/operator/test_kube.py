"""The client of the Kubernetes API against a real HTTP server that answers what an API server may answer."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from kubernetes.config import kube_config

from transcription_operator import kube as kubes
from transcription_operator.kube import Conflict, Exists, Kube, KubeError, Missing, Rejected, Unavailable
from transcription_operator.server_clock import ServerClock

JOBS = "/apis/batch/v1/namespaces/team/jobs"


@dataclass
class ApiServer:
    """Answers every request alike, and keeps what it was asked."""

    port: int
    code: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    asked: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    counted: list[tuple[str, str, int]] = field(default_factory=list)

    def says(self, code: int, message: str = "", **headers: str) -> None:
        self.code, self.headers = code, {name.replace("_", "-"): value for name, value in headers.items()}
        self.body = json.dumps({"kind": "Status", "message": message}).encode()

    def kube(self) -> Kube:
        return Kube(lambda verb, resource, code: self.counted.append((verb, resource, code)))


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[ApiServer]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            length = int(self.headers.get("Content-Length") or 0)
            content = self.rfile.read(length)
            api.asked.append(
                (
                    self.command,
                    self.path,
                    {name.lower(): value for name, value in self.headers.items()},
                    json.loads(content) if content else None,
                )
            )
            time.sleep(api.seconds)
            self.send_response(api.code)
            for name, value in api.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(api.body)))
            self.end_headers()
            with suppress(BrokenPipeError):  # nobody waits for it any more
                self.wfile.write(api.body)

        do_GET = do_POST = do_PATCH = do_DELETE = answer

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    api = ApiServer(http.server_port)
    point_to(monkeypatch, tmp_path, api.port)
    try:
        yield api
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def point_to(monkeypatch, folder, port: int) -> None:
    file = folder / "kubeconfig"
    name = {"name": "here"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{**name, "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{**name, "user": {"token": "secret"}}],
        "contexts": [{**name, "context": {"cluster": "here", "user": "here"}}],
    }
    file.write_text(json.dumps(config))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(file))


def job(name: str = "calls-plan") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "team"}}


CALLS = {
    "POST": lambda kube: kube.create_job(job()),
    "GET": lambda kube: kube.get_job("team", "calls-plan"),
    "PATCH": lambda kube: kube.patch_job("team", "calls-plan", {}),
    "DELETE": lambda kube: kube.delete_job("team", "calls-plan", "u1"),
}


@pytest.mark.parametrize(
    ("verb", "code", "error"),
    [
        *((verb, 404, Missing) for verb in CALLS),
        ("POST", 409, Exists),
        ("PATCH", 409, Conflict),
        ("DELETE", 409, Missing),
        *(("POST", code, Rejected) for code in (400, 401, 403, 422)),
        *(("PATCH", code, Unavailable) for code in (429, 500, 502, 503, 504)),
    ],
)
def test_an_answer_becomes_an_error_with_the_servers_sentence(server, verb, code, error):
    server.says(code, "The sentence.")
    with pytest.raises(error, match=r"^The sentence\.$") as raised:
        CALLS[verb](server.kube())
    assert type(raised.value) is error
    assert server.counted == [(verb, "jobs", code)]


@pytest.mark.parametrize(
    ("code", "message", "final"),
    [
        (422, "spec.template: Invalid value", True),
        (400, "strict decoding error", True),
        (403, "exceeded quota", False),
        (422, "ValidatingAdmissionPolicy 'no-gpus' denied request", False),
        (400, 'admission webhook "x" denied the request', False),
    ],
)
def test_only_a_request_that_can_never_be_taken_is_refused_for_good(server, code, message, final):
    server.says(code, message)
    with pytest.raises(Rejected) as raised:
        server.kube().create_job(job())
    assert raised.value.final is final


@pytest.mark.parametrize(
    ("details", "causes"),
    [
        ({"causes": [{"field": "spec.a", "message": "Not found"}, {"reason": "x"}]}, (("spec.a", "Not found"),)),
        ({"causes": None}, ()),
        ({"causes": ["spec.a"]}, ()),
        ("no object", ()),
    ],
)
def test_the_fields_that_a_refusal_names_are_kept(server, details, causes):
    server.code = 422
    server.body = json.dumps({"kind": "Status", "message": "invalid", "details": details}).encode()
    with pytest.raises(Rejected, match=r"^invalid$") as raised:
        server.kube().create_job(job())
    assert raised.value.causes == causes


def test_a_field_that_no_job_has_is_refused_and_named(server):
    """`affinity`, `securityContext` and the like are taken as they are: left out in silence they would place no pod."""
    unknown = "spec.template.spec.affinity.nodeAfinity"
    server.says(
        400, f'Job in version "v1" cannot be handled as a Job: strict decoding error: unknown field "{unknown}"'
    )
    with pytest.raises(Rejected) as raised:
        server.kube().create_job(job())
    assert raised.value.final and raised.value.causes == ((unknown, "is no known field"),)
    assert parse_qs(urlsplit(server.asked[-1][1]).query) == {"fieldValidation": ["Strict"]}


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("", 5.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 5.0), ("²", 5.0)]
)
def test_how_long_to_wait_is_the_servers_to_say(server, header, seconds):
    server.says(429, "Too many requests.", **({"Retry_After": header.encode().decode("latin-1")} if header else {}))
    with pytest.raises(Unavailable) as raised:
        server.kube().get_job("team", "calls-plan")
    assert raised.value.seconds == seconds


@pytest.mark.parametrize("code", [200, 403, 503])
@pytest.mark.parametrize("body", [b"<html>busy</html>", b"", b"[1]", b"\xff"])
def test_what_is_no_answer_of_an_api_server_is_an_error_of_the_client(server, code, body):
    """A proxy in between may say anything, with any code."""
    server.code, server.body = code, body
    with pytest.raises(KubeError):
        server.kube().get_job("team", "calls-plan")


def test_a_server_that_is_not_there_is_unavailable(tmp_path, monkeypatch):
    with socket.socket() as bound:  # taken, and nobody listens
        bound.bind(("127.0.0.1", 0))
        point_to(monkeypatch, tmp_path, bound.getsockname()[1])
        counted = []
        kube = Kube(lambda *request: counted.append(request))
        with pytest.raises(Unavailable, match=r"^The API server gave no answer: "):
            kube.create_job(job())
    assert counted == [("POST", "jobs", 0)], "asked once: when to ask again is for the loop to say"


def test_a_server_that_does_not_answer_is_not_waited_for(server, monkeypatch):
    monkeypatch.setattr(kubes, "REQUEST_SECONDS", 0.2)
    server.seconds = 1.0
    with pytest.raises(Unavailable):
        server.kube().get_job("team", "calls-plan")
    assert server.counted == [("GET", "jobs", 0)]


def test_a_status_is_written_only_over_the_version_that_was_read(server):
    server.kube().patch_status("team", "calls", {"phase": "Running"}, version=42)
    (verb, path, headers, body) = server.asked[0]
    assert (verb, path) == (
        "PATCH",
        "/apis/transcription-operator.io/v1alpha1/namespaces/team/transcriptionjobs/calls/status",
    )
    assert body == {"metadata": {"resourceVersion": "42"}, "status": {"phase": "Running"}}
    assert headers["content-type"] == "application/merge-patch+json" and headers["authorization"] == "Bearer secret"
    assert server.counted == [("PATCH", "transcriptionjobs/status", 200)]


@pytest.mark.parametrize("delete", ["delete_job", "delete_transcription_job"])
def test_only_the_very_object_is_deleted_and_its_children_follow(server, delete):
    getattr(server.kube(), delete)("team", "calls", "u1")
    assert server.asked[0][3] == {"propagationPolicy": "Background", "preconditions": {"uid": "u1"}}


def test_warnings_come_oldest_first_from_one_short_list(server):
    times = ("2026-03-01T12:00:03Z", "2026-03-01T12:00:01Z", None)
    server.body = json.dumps({"items": [{"lastTimestamp": time, "message": str(time)} for time in times]}).encode()
    found = server.kube().warnings_about("team", "u1")
    assert [event["lastTimestamp"] for event in found] == [None, times[1], times[0]]
    query = parse_qs(urlsplit(server.asked[0][1]).query)
    assert query == {"fieldSelector": ["involvedObject.uid=u1,type=Warning"], "limit": ["50"]}


def test_without_credentials_there_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(KubeError, match="outside a cluster set KUBECONFIG"):
        Kube()


def test_whoever_answers_is_there_and_tells_the_time(server):
    long_ago = datetime(1970, 1, 1, tzinfo=UTC)
    for code, there in ((200, True), (403, True), (404, True), (503, False)):
        server.says(code)
        kube = server.kube()
        kube.clock = ServerClock(machine=lambda: long_ago)
        assert kube.clock.now() == long_ago
        assert kube.answers() is there
        assert kube.clock.now() > long_ago
