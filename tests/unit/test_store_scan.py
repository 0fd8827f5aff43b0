"""A bucket listed over several connections: the objects of one after the other, each once, whatever its folders."""

import threading
from http.server import ThreadingHTTPServer

import pytest

from tests.bench.stub_s3 import Bucket, Stub, handler_of
from transcription_worker.errors import RetryableError
from transcription_worker.store import StoreSettings, open_store
from transcription_worker.store.s3_list import ALONE_PAGES, LOOKS, RANGES


@pytest.fixture
def stub():
    return Stub({"b": Bucket()})


@pytest.fixture
def store(stub, monkeypatch):
    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(stub))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield open_store("s3://b/in/", StoreSettings(endpoint_url=f"http://127.0.0.1:{server.server_address[1]}"))
    server.shutdown()
    server.server_close()
    thread.join()


def fill(stub, keys):
    stub.buckets["b"].entries = dict.fromkeys(keys, ("e", 1))


SHAPES = {
    "nothing": [],
    "one page": [f"in/{n}" for n in range(7)],
    "flat": [f"in/{n:06d}" for n in range(9_000)],
    "a folder each": [f"in/{n:06d}/a.wav" for n in range(6_500)],
    "days": [f"in/2026/{n % 12:02d}/{n % 28:02d}/{n:06d}.wav" for n in range(6_000)],
    "one deep giant": [f"in/a/b/c/d/{n:06d}" for n in range(8_000)] + ["in/z", "in/a/0"],
    "folders and files beside them": [f"in/{n % 40}{'/' if n % 3 else '-'}{n:06d}" for n in range(8_000)],
    "folders that are objects too": [f"in/{n % 90:03d}/{n // 90 or ''}" for n in range(9_000)],
    "beyond ASCII": [f"in/{'äöü€😀'[n % 5]}/{n:06d}" for n in range(7_000)],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_object_comes_once(stub, store, shape):
    fill(stub, SHAPES[shape] + ["im/before", "in0/behind"])
    found = [info.key for info in store.scan()]
    assert len(found) == len(set(found))
    assert sorted(found) == [info.key for info in store.list()] == sorted(k.removeprefix("in/") for k in SHAPES[shape])


@pytest.mark.parametrize("shape", SHAPES)
def test_it_costs_few_requests_more(stub, store, shape):
    fill(stub, SHAPES[shape])
    list(store.scan())
    pages = -(-len(SHAPES[shape]) // 1000) or 1
    extra = 0 if pages <= ALONE_PAGES else LOOKS + 2 * RANGES
    assert stub.requests["LIST"] <= pages + extra


def test_a_store_that_passes_over_start_after_gives_nothing_twice(stub, store, monkeypatch):
    fill(stub, SHAPES["days"])
    honest = stub.buckets["b"].list
    monkeypatch.setattr(
        stub.buckets["b"], "list", lambda query: honest({k: v for k, v in query.items() if k != "start-after"})
    )
    found = [info.key for info in store.scan()]
    assert sorted(found) == sorted(k.removeprefix("in/") for k in SHAPES["days"])


def test_a_range_that_breaks_off_ends_the_whole(stub, store, monkeypatch):
    fill(stub, SHAPES["days"])
    honest = stub.buckets["b"].list

    def broken(query):
        page = honest(query)
        if query.get("start-after", "") > "in/2026/06":
            page = page.replace("<IsTruncated>false", "<IsTruncated>true")
        return page

    monkeypatch.setattr(stub.buckets["b"], "list", broken)
    with pytest.raises(RetryableError, match="broke off the listing"):
        list(store.scan())


def test_who_stops_listening_leaves_no_thread_behind(stub, store):
    fill(stub, SHAPES["days"])
    scan = store.scan()
    for _ in range(5_500):
        next(scan)
    assert [thread for thread in threading.enumerate() if thread.name.startswith("list")]
    scan.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("list")]
