"""What workers say is added up once, whatever they say; and asked for over real sockets."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from transcription_api.names import Component
from transcription_operator import progress
from transcription_operator.observed import Pod
from transcription_operator.progress import ProgressReader, add_up, reduced

LEDGERS = {"done": 10, "skipped": 2, "failed": 1, "bytes": 130, "total_bytes": 1000, "audio_seconds": 600.0}


def total(ledgers, workers):
    return add_up(reduced(ledgers), [reduced(worker) for worker in workers])


def shard(done, failed=0):
    return {"done": done, "skipped": 0, "failed": failed, "bytes": 10 * done, "audio_seconds": 60.0 * done}


def test_unfinished_shards_count_beside_the_ledgers():
    workers = [{"shards": {"7": shard(3)}, "speed": 50.0}, {"shards": {"9": shard(1, 1)}, "speed": 30.0}]
    totals = total(LEDGERS, workers)
    assert (totals.done, totals.skipped, totals.failed, totals.bytes) == (14, 2, 2, 170)
    assert (totals.audio_seconds, totals.speed, totals.total_bytes) == (840.0, 80.0, 1000)


def test_a_shard_that_has_its_ledger_counts_by_that_alone():
    finished = {**LEDGERS, "finished_shards": [[0, 6], [8, 8]]}
    totals = total(finished, [{"shards": {"0": shard(3), "6": shard(3), "7": shard(1), "8": shard(3)}}])
    assert totals.done == 11


def test_two_workers_at_one_shard_count_once():
    assert total(LEDGERS, [{"shards": {"7": shard(3)}}, {"shards": {"7": shard(2)}}]).done == 13


@pytest.mark.parametrize(
    "said",
    [
        {"shards": [1]},
        {"shards": {"x": shard(9), "7": "many", "-1": shard(9)}},
        {"shards": {"7": {"done": "9", "failed": -4, "bytes": 1e300, "audio_seconds": float("nan")}}},
        {"speed": float("inf"), "model_digest": 7, "failures": {"key": "a"}},
        {"failures": [None, {"key": 3}]},
        {},
    ],
)
def test_what_is_no_figure_counts_as_none(said):
    totals = total({**LEDGERS, "finished_shards": [[0], "x", [None, 3]]}, [said])
    assert (totals.done, totals.failed, totals.bytes, totals.audio_seconds, totals.failures) == (10, 1, 130, 600.0, ())
    assert totals.speed == 0.0 and totals.model_digest is None


def test_a_failure_that_two_tell_of_stands_once():
    rows = [{"key": f"{n}.wav", "reason": "Corrupt", "message": "m"} for n in range(20)]
    totals = total({**LEDGERS, "failures": rows[:5]}, [{"failures": rows[3:15]}])
    assert [key for key, _, _ in totals.failures] == [f"{n}.wav" for n in range(10)]


class Worker:
    """Answers on 127.0.0.x with what it is given."""

    def __init__(self, address, port, pages):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                status, body = pages.get(self.path, (404, b""))
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", body.decode())
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer((address, port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def pod(address, index):
    return Pod(
        name=f"w{index}",
        uid=f"u{index}",
        owner_uid="work",
        component=Component.WORK,
        index=index,
        phase="Running",
        ip=address,
        ready=True,
    )


def page(body, status=200):
    return status, json.dumps(body).encode()


@pytest.fixture
def ask(monkeypatch):
    """`ask({address: pages})`: what the reader makes of workers there; no answer where there is no worker."""
    started = []

    def run(pages):
        port = 0
        for address, answers in pages.items():
            if answers is not None:
                started.append(Worker(address, port, answers))
                port = started[-1].server.server_address[1]
        monkeypatch.setattr(progress, "HTTP_PORT", port)

        async def read():
            reader = ProgressReader()
            try:
                return await reader.read([pod(address, index) for index, address in enumerate(pages)])
            finally:
                await reader.close()

        return asyncio.run(read())

    yield run
    for worker in started:
        worker.close()


def test_all_are_asked_for_their_own_and_one_for_the_job(ask):
    both = {"/progress": page({"shards": {"7": shard(3)}, "speed": 5.0}), "/progress/job": page(LEDGERS)}
    other = {"/progress": page({"shards": {"8": shard(1)}, "speed": 5.0})}
    assert ask({"127.0.0.1": both, "127.0.0.2": other}).done == 14


def test_a_silent_worker_costs_only_its_own_figures(ask):
    both = {"/progress": page({"shards": {"7": shard(3)}}), "/progress/job": page(LEDGERS)}
    assert ask({"127.0.0.3": None, "127.0.0.1": both}).done == 13


@pytest.mark.parametrize(
    "job",
    [
        page({}, status=503),
        (200, b"no JSON"),
        page([1]),
        (200, b'"' + b"x" * (progress.MAX_ANSWER_BYTES + 1) + b'"'),
        (302, b"http://127.0.0.1:1/elsewhere"),
    ],
    ids=["counting", "no JSON", "a list", "too long", "redirect"],
)
def test_without_the_ledgers_nothing_is_said(ask, job):
    assert ask({"127.0.0.1": {"/progress": page({"shards": {"7": shard(3)}}), "/progress/job": job}}) is None


def test_nobody_is_asked_where_nobody_is_ready():
    async def read():
        reader = ProgressReader()
        try:
            return await reader.read([Pod(name="w", uid="u", owner_uid="work", component=Component.WORK)])
        finally:
            await reader.close()

    assert asyncio.run(read()) is None
