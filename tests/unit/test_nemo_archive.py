"""A .nemo is judged without running any of it: real ones pass, and what asks for code is refused in one sentence."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from transcription_worker.errors import ConfigurationError
from transcription_worker.nemo_archive import WEIGHTS, check_archive, unpack
from transcription_worker.nemo_config import ArchiveInfo

MODELS = Path(__file__).parents[2] / "examples" / "models"

CONFIG: dict[str, Any] = {
    "target": "nemo.collections.asr.models.ctc_models.EncDecCTCModel",
    "sample_rate": 16_000,
    "preprocessor": {"_target_": "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor"},
}

Member = tuple[tarfile.TarInfo | str, bytes]


def weights(state: object = None, *, protocol: int = 2) -> bytes:
    """What torch.save writes, without tensors: a zip with one pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(state or OrderedDict(a=1), protocol=protocol))
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def config(**changes: object) -> bytes:
    return yaml.safe_dump({**CONFIG, **changes}).encode()


def nemo(path: Path, *members: Member) -> Path:
    with tarfile.open(path, "w") as tar:
        for member, body in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return path


def whole(path: Path, *more: Member, config: bytes = config(), weights: bytes = weights()) -> Path:
    return nemo(path, ("./model_config.yaml", config), ("./model_weights.ckpt", weights), *more)


def link(kind: bytes, name: str, to: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def refused(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        check_archive(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.startswith(str(path))
    assert sentence.endswith(".")
    return sentence


class Marker:
    """Unpickling this creates a file."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.place}",)


@pytest.mark.parametrize(("name", "kind"), [("tiny-ctc", "ctc"), ("tiny-tdt", "tdt")])
def test_a_real_model_passes_and_says_what_it_is(name: str, kind: str) -> None:
    info = check_archive(MODELS / f"{name}.nemo")
    assert (info.kind, info.sample_rate) == (kind, 16_000)
    assert info.target.startswith("nemo.collections.asr.models.")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["tiny-ctc", "tiny-tdt"])
def test_unpacking_gives_every_file_of_the_archive(name: str, compressed: bool, tmp_path: Path) -> None:
    """The weights too where they are compressed; else they stay where they are."""
    model, there = MODELS / f"{name}.nemo", tmp_path / "there"
    there.mkdir()
    with tarfile.open(model) as tar:
        held = {member.name.removeprefix("./"): tar.extractfile(member) for member in tar if member.isreg()}
        contents = {name: stream.read() for name, stream in held.items() if stream is not None}
    if compressed:
        (tmp_path / "m.nemo").write_bytes(gzip.compress(model.read_bytes()))
        model = tmp_path / "m.nemo"
    weights = unpack(model, there)
    expected = contents if compressed else {name: body for name, body in contents.items() if name != WEIGHTS}
    assert {path.name: path.read_bytes() for path in there.iterdir()} == expected
    assert weights.file == (there / WEIGHTS if compressed else model)
    assert weights.file.read_bytes()[weights.offset :].startswith(contents[WEIGHTS])
    assert weights.size == (None if compressed else len(contents[WEIGHTS]))


def test_a_small_archive_passes(tmp_path: Path) -> None:
    info = check_archive(whole(tmp_path / "m.nemo"))
    assert info == ArchiveInfo(target=str(CONFIG["target"]), sample_rate=16_000, kind="ctc")


def test_a_compressed_archive_passes(tmp_path: Path) -> None:
    plain = whole(tmp_path / "plain.nemo")
    packed = tmp_path / "m.nemo"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert check_archive(packed).kind == "ctc"


@pytest.mark.parametrize(
    ("model", "changes", "kind"),
    [
        ("EncDecRNNTBPEModel", {}, "rnnt"),
        ("EncDecRNNTBPEModel", {"decoding": {"durations": [0, 1, 2]}}, "tdt"),
        ("EncDecRNNTModel", {"decoding": {"durations": []}}, "rnnt"),
        ("EncDecHybridRNNTCTCBPEModel", {"decoding": {"durations": [0, 1]}}, "hybrid"),
        ("EncDecCTCModelBPE", {}, "ctc"),
    ],
)
def test_the_kind_follows_from_class_and_durations(
    model: str, changes: dict[str, object], kind: str, tmp_path: Path
) -> None:
    body = config(target=f"nemo.collections.asr.models.{model}", **changes)
    assert check_archive(whole(tmp_path / "m.nemo", config=body)).kind == kind


@pytest.mark.parametrize("model", ["EncDecMultiTaskModel", "SortformerEncLabelModel", "EncDecRNNTBPEModelWithPrompt"])
def test_a_model_of_another_kind_is_named_with_what_is_supported(model: str, tmp_path: Path) -> None:
    sentence = refused(whole(tmp_path / "m.nemo", config=config(target=f"nemo.collections.asr.models.{model}")))
    assert model in sentence
    assert "EncDecRNNTBPEModel" in sentence


# --- not an archive, or not a whole one


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "is empty"),
        (b"just text\n" * 200, "not a .nemo"),
        (weights(), "not a .nemo"),  # a zip
        (b"\0" * 4096, "without model_config.yaml"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "not a .nemo"),
    ],
)
def test_a_file_that_is_no_archive(body: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "m.nemo"
    path.write_bytes(body)
    assert said in refused(path)


def test_a_missing_file_and_a_directory(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "m.nemo")
    assert "not a file" in refused(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = whole(tmp_path / "m.nemo")
    path.chmod(0)
    assert "may not be read" in refused(path)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.97])
@pytest.mark.parametrize("name", ["tiny-ctc", "tiny-tdt"])
def test_a_truncated_model_is_found_wherever_it_was_cut(name: str, share: float, tmp_path: Path) -> None:
    body = (MODELS / f"{name}.nemo").read_bytes()
    path = tmp_path / "m.nemo"
    path.write_bytes(body[: int(len(body) * share)])
    assert refused(path)


@pytest.mark.parametrize("missing", ["model_config.yaml", "model_weights.ckpt"])
def test_a_tar_without_its_parts(missing: str, tmp_path: Path) -> None:
    members = [("model_config.yaml", config()), ("model_weights.ckpt", weights())]
    path = nemo(tmp_path / "m.nemo", *(member for member in members if member[0] != missing))
    assert f"without {missing}" in refused(path)


# --- members that leave the directory


@pytest.mark.parametrize(
    "name", ["../escaped", "/tmp/escaped", "./a/../../escaped", "a/../../../escaped", "..", "a/.."]
)
def test_a_member_that_leaves_its_directory(name: str, tmp_path: Path) -> None:
    path = whole(tmp_path / "m.nemo", (name, b"x"))
    assert "outside its directory" in refused(path)
    (tmp_path / "in").mkdir()
    with pytest.raises(ConfigurationError):
        unpack(path, tmp_path / "in")
    assert not list((tmp_path / "in").iterdir())
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_member_that_is_no_plain_file(kind: bytes, tmp_path: Path) -> None:
    path = whole(tmp_path / "m.nemo", (link(kind, "tokenizer.model", "/etc/passwd"), b""))
    assert "not a plain file" in refused(path)


def test_a_member_that_is_there_twice(tmp_path: Path) -> None:
    assert "twice" in refused(whole(tmp_path / "m.nemo", ("model_config.yaml", config())))


# --- a configuration that asks for code


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.Popen",
        "builtins.eval",
        "nemo.collections.asr.models.asr_model.os.system",
        "nemo.collections.asr.modules.subprocess.Popen",
        "nemo.collections.asr.parts.utils.manifest_utils.read_manifest",
        "nemo.utils.cloud.maybe_download_from_cloud",
        "nemo.collections.asr.modules..Encoder",
        "nemo_evil.collections.asr.modules.Encoder",
        "torch.hub.load",
        "",
    ],
)
@pytest.mark.parametrize("where", ["encoder", "deep", "list", "legacy"])
def test_a_target_outside_the_speech_classes(target: str, where: str, tmp_path: Path) -> None:
    node = {"_target_": target}
    places: dict[str, dict[str, object]] = {
        "encoder": {"encoder": node},
        "deep": {"a": {"b": {"c": {"d": node}}}},
        "list": {"a": [[1, [node]]]},
        "legacy": {"encoder": {"cls": target or "os.system", "params": {"command": "true"}}},
    }
    assert "asks for code" in refused(whole(tmp_path / "m.nemo", config=config(**places[where])))


def test_the_model_class_itself_is_checked(tmp_path: Path) -> None:
    assert "asks for code" in refused(whole(tmp_path / "m.nemo", config=config(target="os.EncDecCTCModel")))


@pytest.mark.parametrize(
    "body",
    [
        b"a: !!python/object/apply:os.system ['true']\n",
        b"a: !!python/name:os.system\n",
        b"a: !secret x\n",
        b"a: ${oc.env:AWS_SECRET_ACCESS_KEY}\n",
    ],
)
def test_yaml_that_asks_for_more_than_data(body: bytes, tmp_path: Path) -> None:
    sentence = refused(whole(tmp_path / "m.nemo", config=config() + body))
    assert "model_config.yaml" in sentence
    assert "do not use it" in sentence


@pytest.mark.parametrize("body", [b"[1, 2]\n", b"a: [\n", b"\xff\xfe\x00", b"", b"text\n"])
def test_a_configuration_that_is_none(body: bytes, tmp_path: Path) -> None:
    assert "model_config.yaml" in refused(whole(tmp_path / "m.nemo", config=body))


def test_aliases_that_multiply_end_in_a_sentence(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "values" in refused(whole(tmp_path / "m.nemo", config=config() + "\n".join(lines).encode()))


@pytest.mark.parametrize("rate", [None, 0, -1, "16000", 1_000_000])
def test_a_sample_rate_that_cannot_be(rate: object, tmp_path: Path) -> None:
    assert "sample_rate" in refused(whole(tmp_path / "m.nemo", config=config(sample_rate=rate)))


# --- weights that ask for code


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_weights_whose_pickle_calls_something_are_refused_and_nothing_runs(protocol: int, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    state = OrderedDict(weight=Marker(marker))
    pickle.loads(pickle.dumps(state, protocol))
    assert marker.exists(), "the pickle does what it is feared for"
    marker.unlink()
    path = whole(tmp_path / "m.nemo", weights=weights(state, protocol=protocol))
    assert "asks for code in its model_weights.ckpt" in refused(path)
    assert not marker.exists()


def test_weights_in_a_bare_pickle_are_refused_and_nothing_runs(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    path = whole(tmp_path / "m.nemo", weights=pickle.dumps(Marker(marker)))
    assert "not a checkpoint of torch" in refused(path)
    assert not marker.exists()


def test_a_second_pickle_in_the_weights_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO(weights())
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("other/data.pkl", pickle.dumps(Marker(tmp_path / "ran")))
    assert "not a plain checkpoint" in refused(whole(tmp_path / "m.nemo", weights=buffer.getvalue()))


def test_weights_that_are_compressed_inside_are_refused(tmp_path: Path) -> None:
    """They are mapped from where they lie, and would be noise."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(weights())) as plain, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    assert "not a plain checkpoint" in refused(whole(tmp_path / "m.nemo", weights=buffer.getvalue()))


def test_weights_of_torchscript_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO(weights())
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("archive/code/__torch__.py", "import os")
    assert "not a plain checkpoint" in refused(whole(tmp_path / "m.nemo", weights=buffer.getvalue()))


def test_weights_that_are_two_zips_in_one_are_refused(tmp_path: Path) -> None:
    """Python's reader finds the second directory; torch the first, for its offset is the one that stands there."""
    evil, good = weights(OrderedDict(a="evil")), weights(OrderedDict(a="good"))
    end = evil.rindex(b"PK\x05\x06")
    both = bytearray(evil[:end] + good)
    both[-6:-2] = evil[end + 16 : end + 20]
    with zipfile.ZipFile(io.BytesIO(both)) as seen:
        assert b"good" in seen.read("archive/data.pkl")
    assert "not a plain checkpoint" in refused(whole(tmp_path / "m.nemo", weights=bytes(both)))


def test_weights_that_do_not_begin_as_a_zip_are_refused(tmp_path: Path) -> None:
    """Torch takes them for a pickle."""
    body = pickle.dumps(Marker(tmp_path / "ran")) + weights()
    assert "not a plain checkpoint" in refused(whole(tmp_path / "m.nemo", weights=body))
