"""Models that mean harm, over the whole way from the archive to the engine: refused in a sentence, nothing run, nothing
fetched, nothing written outside scratch, in bounded time, memory and disk.

What a check of each single field refuses stands in tests/unit/test_nemo_archive.py.
"""

from __future__ import annotations

import http.server
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.chaos.fuzz_mutations import mutate
from tests.chaos.fuzz_seeds import Seed
from tests.chaos.hostile_archives import archive, bombs, compressed, parts_of, reconfigured
from tests.jobs import REPOSITORY, TINY_CTC, TINY_TDT
from transcription_worker.errors import ConfigurationError
from transcription_worker.nemo_archive import check_archive, unpack

HARMLESS = {"YAML: a set", "YAML: binary"}
MEMORY_BYTES = 1 << 30
SECONDS_EACH = 60.0
MUTATIONS = 200

Change = Callable[[dict[str, Any]], object]


def judged(files: list[Path]) -> Iterator[dict[str, Any]]:
    """What checking and unpacking says of each file, in a process of limited memory."""
    command = [sys.executable, "-m", "tests.chaos.hostile_archives", str(MEMORY_BYTES), *map(str, files)]
    timeout = SECONDS_EACH * len(files)
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=timeout, check=False)
    assert ran.returncode == 0, ran.stderr
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [entry["file"] for entry in found] == [str(file) for file in files]
    for entry in found:
        assert entry["kind"] in ("passed", "refused"), entry
        assert entry["kind"] == "passed" or entry["unpacked"] == 0
        if entry["kind"] == "refused":
            assert entry["said"].isprintable() and entry["said"].startswith(entry["file"]) and entry["said"][-1] == "."
            assert len(entry["said"]) < len(entry["file"]) + 500
        yield entry


@pytest.mark.slow
def test_archives_that_ask_for_memory_disk_or_time_are_refused(tmp_path: Path) -> None:
    names = {}
    for number, (name, body) in enumerate(bombs(TINY_TDT)):
        path = tmp_path / f"{number}.nemo"
        path.write_bytes(body)
        names[str(path)] = name
    for entry in judged([Path(name) for name in names]):
        assert entry["kind"] == ("passed" if names[entry["file"]] in HARMLESS else "refused"), names[entry["file"]]
        assert entry["seconds"] < SECONDS_EACH, names[entry["file"]]


@pytest.mark.slow
def test_damaged_archives_of_every_compression_are_refused_in_a_sentence(tmp_path: Path) -> None:
    dice = random.Random(1)
    whole = [Seed(kind, "nemo", body) for kind, body in compressed(archive(parts_of(TINY_CTC))).items()]
    files = []
    for number in range(MUTATIONS):
        name, body = mutate(dice.choice(whole), dice, whole)
        files.append(tmp_path / f"{number}-{name}"[:100])
        files[-1].write_bytes(body)
    kinds = [entry["kind"] for entry in judged(files)]
    assert kinds.count("refused") > MUTATIONS // 4


@pytest.mark.parametrize("kind", ["tar", "gz", "bz2", "xz"])
def test_a_sound_model_passes_in_every_compression(kind: str, tmp_path: Path) -> None:
    (tmp_path / "m.nemo").write_bytes(compressed(archive(parts_of(TINY_TDT)))[kind])
    (tmp_path / "unpacked").mkdir()
    assert check_archive(tmp_path / "m.nemo").kind == "tdt"
    weights = unpack(tmp_path / "m.nemo", tmp_path / "unpacked")
    assert len(list((tmp_path / "unpacked").iterdir())) == (4 if kind == "tar" else 5)
    with weights.file.open("rb") as file:
        file.seek(weights.offset)
        assert file.read(4) == b"PK\x03\x04"


def hub_class(module: str) -> Change:
    """A class of NeMo's own that fetches a repository of anybody's and runs the code in it."""
    node = {"_target_": f"nemo.collections.common.{module}", "pretrained_model_name": "a/b", "trust_remote_code": True}
    return lambda config: config.update(encoder=node)


def tokenizer(**fields: object) -> Change:
    return lambda config: config["tokenizer"].update(fields)


CONFIGURATIONS: dict[str, tuple[Change, str]] = {
    "tokenizer of the hub": (hub_class("tokenizers.huggingface.auto_tokenizer.AutoTokenizer"), "asks for code"),
    "tokenizer of the hub, by its package": (hub_class("tokenizers.AutoTokenizer"), "asks for code"),
    "language model of the hub": (hub_class("parts.mlm_scorer.MLMScorer"), "asks for code"),
    "model in a model": (
        lambda c: c.update(encoder={"_target_": "nemo.collections.asr.models.EncDecCTCModel", "cfg": {}}),
        "asks for code",
    ),
    "target by reference": (lambda c: c.update(x="os.system", encoder={"_target_": "${x}"}), "asks for code"),
    "wordpiece": (tokenizer(type="wpe"), "kind that is not supported ('wpe')"),
    "wordpiece in capitals": (tokenizer(type="WPE"), "kind that is not supported"),
    "wordpiece by reference": (lambda c: c.update(w="wpe") or tokenizer(type="${w}")(c), "kind that is not supported"),
    "wordpiece among several": (
        tokenizer(type="agg", langs={"en": {"type": "bpe"}, "de": {"type": "wpe"}}),
        "kind that is not supported ('wpe')",
    ),
    "tokenizer by reference": (lambda c: c.update(w={"type": "wpe"}, tokenizer="${w}"), "kind that is not supported"),
    "file of the machine": (tokenizer(model_path="/etc/passwd"), "names a file"),
    "endless file": (tokenizer(model_path="/dev/zero"), "names a file"),
    "file above": (tokenizer(model_path="nemo:../../../../../../etc/passwd"), "names a file"),
    "file by reference": (lambda c: c.update(p="/etc/passwd") or tokenizer(vocab_path="${p}")(c), "names a file"),
    "file of the network": (tokenizer(vocab_path="https://127.0.0.1/x"), "names a file"),
    "file of another model": (lambda c: c.update(other="nemo:/dev/zero"), "names a file"),
    "environment": (lambda c: c.update(x="${oc.env:AWS_SECRET_ACCESS_KEY}"), "more than data"),
    "environment, in disguise": (
        lambda c: c.update(e="env", x="${oc.${e}:AWS_SECRET_ACCESS_KEY}"),
        "more than data",
    ),
    "decoded": (lambda c: c.update(x="${oc.decode:'${x}'}"), "more than data"),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_configuration_that_asks_for_more_than_a_model_is_refused(name: str, tmp_path: Path) -> None:
    change, said = CONFIGURATIONS[name]
    path = tmp_path / "m.nemo"
    path.write_bytes(reconfigured(parts_of(TINY_TDT), change))
    with pytest.raises(ConfigurationError) as caught:
        check_archive(path)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("body", [b"", b"\n" * 100, os.urandom(5_000), b"\xff" * 100_000], ids=["0", "n", "r", "f"])
def test_a_tokenizer_that_is_none_is_refused_and_leaves_nothing(body: bytes, tmp_path: Path) -> None:
    from transcription_worker.engines.nemo import NemoEngine

    (tmp_path / "m.nemo").write_bytes(archive({**parts_of(TINY_TDT), "tokenizer.model": body}))
    (tmp_path / "scratch").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be loaded as EncDecRNNTBPEModel"):
        NemoEngine(tmp_path / "m.nemo", scratch=tmp_path / "scratch", device="cpu").load()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["m.nemo", "scratch"]


class Hub(http.server.BaseHTTPRequestHandler):
    """Stands where the Hugging Face hub would, has nothing, and notes who came."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.mark.model
@pytest.mark.slow
def test_loading_asks_the_hub_for_nothing_also_where_the_check_is_made_to_miss_it(tmp_path: Path) -> None:
    """In a process of its own: the hub's address is read when its library is imported."""
    (tmp_path / "m.nemo").write_bytes(reconfigured(parts_of(TINY_TDT), tokenizer(type="wpe")))
    (tmp_path / "unpacked").mkdir()
    weights = unpack(tmp_path / "m.nemo", tmp_path / "unpacked")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        script = (
            "import sys, pathlib; from transcription_worker.engines import nemo_load;"
            "from transcription_worker.nemo_archive import Weights;"
            "weights = Weights(pathlib.Path(sys.argv[2]), int(sys.argv[3]));"
            "target = 'nemo.collections.asr.models.EncDecRNNTBPEModel';"
            "nemo_load.restore(pathlib.Path(sys.argv[1]), weights, target, on_gpu=False)"
        )
        environment = {
            **os.environ,
            "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
            "HF_HOME": str(tmp_path / "hub"),
        }
        command = [sys.executable, "-c", script, str(tmp_path / "unpacked"), str(weights.file), str(weights.offset)]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        hub.shutdown()
    assert ran.returncode != 0
    assert "AUTOTOKENIZER" in ran.stderr
    assert Hub.asked == []
