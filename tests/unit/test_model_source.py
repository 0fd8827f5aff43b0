"""A job's model becomes a local file: the right one, whole, fetched once, or one sentence says why not."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from transcription_worker.errors import ConfigurationError
from transcription_worker.model_source import ModelRequest, ModelSource, sha256_of
from transcription_worker.scratch import Scratch

MODELS = Path(__file__).parents[2] / "examples" / "models"
TINY = MODELS / "tiny-ctc.nemo"
DIGEST = hashlib.sha256(TINY.read_bytes()).hexdigest()


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    with Scratch(tmp_path / "scratch", min_free_bytes=0) as scratch:
        return scratch


@pytest.mark.parametrize(
    "request_",
    [ModelRequest(path=TINY), ModelRequest(uri=str(TINY)), ModelRequest(uri=TINY.as_uri())],
    ids=["volume", "path", "file URI"],
)
def test_a_file_is_used_where_it_is(request_: ModelRequest, tmp_path: Path, scratch: Scratch) -> None:
    source = ModelSource(request_)
    assert source.identity() == f"sha256:{DIGEST}"
    assert source.fetch(tmp_path / "cache", scratch) == TINY
    assert not (tmp_path / "cache").exists()


def test_a_file_uri_may_hold_escapes(tmp_path: Path) -> None:
    place = tmp_path / "my model.nemo"
    shutil.copy(TINY, place)
    assert "%20" in place.as_uri()
    assert ModelSource(ModelRequest(uri=place.as_uri())).identity() == f"sha256:{DIGEST}"


@pytest.mark.parametrize("pin", [DIGEST, DIGEST.upper(), f"sha256:{DIGEST}"])
def test_the_right_pin_passes(pin: str, tmp_path: Path, scratch: Scratch) -> None:
    source = ModelSource(ModelRequest(path=TINY, sha256=pin))
    assert source.identity() == f"sha256:{DIGEST}"
    assert source.fetch(tmp_path, scratch) == TINY


def test_the_wrong_pin_is_one_sentence_with_both_digests(tmp_path: Path, scratch: Scratch) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ModelSource(ModelRequest(path=TINY, sha256="0" * 64)).fetch(tmp_path, scratch)
    assert DIGEST in str(caught.value)
    assert "0" * 64 in str(caught.value)
    assert "model.sha256" in str(caught.value)


def test_a_missing_file_and_one_that_is_no_model(tmp_path: Path, scratch: Scratch) -> None:
    text = tmp_path / "text.nemo"
    text.write_text("not a model\n" * 100)
    for path, said in ((tmp_path / "none.nemo", "does not exist"), (text, "not a .nemo")):
        source = ModelSource(ModelRequest(path=path))
        with pytest.raises(ConfigurationError, match=said):
            source.identity()
        with pytest.raises(ConfigurationError, match=said):
            source.fetch(tmp_path, scratch)


@pytest.mark.parametrize("uri", ["http://models/x.nemo", "file://elsewhere/x.nemo", "gs://models/x.nemo"])
def test_a_uri_of_another_kind(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="s3://<bucket>/<key>"):
        ModelSource(ModelRequest(uri=uri))


@pytest.mark.parametrize("uri", ["s3://models", "s3://models/", "s3:///x.nemo"])
def test_an_object_uri_without_bucket_or_key(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="s3://<bucket>/"):
        ModelSource(ModelRequest(uri=uri)).identity()


@pytest.mark.parametrize(
    ("name", "said"),
    [("stt_en_conformer_ctc_large", "nvidia/stt_en"), ("a/b/c", "<owner>/<model>"), ("../x", "<owner>")],
)
def test_a_name_that_the_hub_cannot_have(name: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        ModelSource(ModelRequest(name=name)).identity()


def test_a_hub_model_has_the_same_identity_before_and_after_it_is_downloaded() -> None:
    assert ModelSource(ModelRequest(name="nvidia/parakeet")).identity() == "hub:nvidia/parakeet"
    assert ModelSource(ModelRequest(name="nvidia/parakeet", sha256=DIGEST)).identity() == f"sha256:{DIGEST}"


def test_no_model_at_all() -> None:
    with pytest.raises(ConfigurationError, match=r"model\.name"):
        ModelSource(ModelRequest()).identity()


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert sha256_of(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
