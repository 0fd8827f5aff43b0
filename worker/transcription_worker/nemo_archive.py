"""What a .nemo file says it is, found out without running any of it. Loading it is in `engines/`.

A .nemo is a tar of `model_config.yaml`, `model_weights.ckpt` (a zip of torch's with one pickle inside) and the
tokenizer's files. Each of the three can ask for code: a path that leaves the directory, a `_target_` in the
configuration, a global in the pickle. This module reads them as data and refuses what asks. NeMo and torch check
again when they load (`_target_` prefixes, `weights_only`); this check comes first, in milliseconds, and needs neither.
"""

from __future__ import annotations

import importlib.util
import pickletools
import re
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

import yaml

from transcription_worker.errors import ConfigurationError

Kind = Literal["ctc", "rnnt", "tdt", "hybrid"]

CONFIG = "model_config.yaml"
WEIGHTS = "model_weights.ckpt"

KINDS: dict[str, Kind] = {
    "EncDecCTCModel": "ctc",
    "EncDecCTCModelBPE": "ctc",
    "EncDecRNNTModel": "rnnt",
    "EncDecRNNTBPEModel": "rnnt",
    "EncDecHybridRNNTCTCModel": "hybrid",
    "EncDecHybridRNNTCTCBPEModel": "hybrid",
}
"""Model classes that the engine can drive; an RNNT with durations is a TDT."""

MAX_MEMBERS = 10_000
MAX_CONFIG_BYTES = 16 << 20
MAX_CONFIG_NODES = 500_000
"""Guards against a YAML whose aliases multiply: large vocabularies, listed three times, are a tenth of this."""
MAX_UNPACKED_BYTES = 128 << 30
MAX_PICKLE_BYTES = 256 << 20

TARGET = re.compile(r"nemo\.collections\.(asr|common)((?:\.[a-z_][a-z0-9_]*)+)\.[A-Z]\w*", re.ASCII)
"""A class in NeMo's speech packages. Functions, and whatever else a module happens to import, are not."""

GLOBALS = re.compile(
    r"collections OrderedDict|_codecs encode|torch (Size|device|bfloat16|float\d+|u?int\d+|bool|\w+Storage)"
    r"|torch\.storage (Untyped|Typed)Storage|torch\._utils _rebuild_(tensor(_v2)?|parameter)"
    r"|torch\.serialization _get_layout"
)
"""What rebuilding a dictionary of tensors takes."""

OPCODES_WITH_CODE = {"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4", "PERSID"}
"""Opcodes that torch.save never writes into a state dict and that name a callable in ways a scan cannot follow."""


@dataclass(frozen=True, slots=True)
class ArchiveInfo:
    """What the archive declares: the model class, the sample rate in Hz that it hears, and how it decodes."""

    target: str
    sample_rate: int
    kind: Kind


def check_archive(path: Path) -> ArchiveInfo:
    """Read a .nemo as data.

    Raises:
        ConfigurationError: it is missing, not a .nemo, damaged, not a speech model that the engine knows, or it asks
            for code to be run; one sentence.
    """
    with _opened(path) as tar:
        members = _members(tar, path)
        config = _config(_read(tar, members[CONFIG], path), path)
        _check_weights(_read(tar, members[WEIGHTS], path), path)
        return _info(config, path)


def check_header(path: Path) -> None:
    """The cheapest part of `check_archive`: that the file may be read and begins as a tar does. Raises as it does."""
    _opened(path).close()


def unpack(path: Path, directory: Path) -> None:
    """Unpack a checked .nemo into `directory`, which exists and is empty. Raises ConfigurationError, OSError."""
    with _opened(path) as tar:
        for name, member in _members(tar, path).items():
            place = directory / name
            place.parent.mkdir(parents=True, exist_ok=True)
            with _read(tar, member, path) as source, place.open("xb") as target:
                shutil.copyfileobj(source, target, 1 << 20)


def _refuse(path: Path, what: str, cure: str = "give a model saved with NeMo's save_to") -> ConfigurationError:
    return ConfigurationError(f"{path} {what}; {cure}.")


def _opened(path: Path) -> tarfile.TarFile:
    try:
        if path.stat().st_size == 0:
            raise _refuse(path, "is empty", "copy the model again")
        return tarfile.open(path, "r:*")
    except FileNotFoundError:
        raise _refuse(path, "does not exist", "check the model's path and what is mounted there") from None
    except (IsADirectoryError, NotADirectoryError):
        raise _refuse(path, "is not a file", "name the .nemo file itself") from None
    except PermissionError:
        raise _refuse(path, "may not be read", "let this user read it") from None
    except (tarfile.TarError, EOFError, OSError) as error:
        raise _refuse(path, f"is not a .nemo archive ({_short(error)})") from None


def _short(error: BaseException) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__


def _members(tar: tarfile.TarFile, path: Path) -> dict[str, tarfile.TarInfo]:
    """Relative name -> member; there are regular files only."""
    found: dict[str, tarfile.TarInfo] = {}
    total = 0
    try:
        for member in tar:
            if member.isdir():
                continue
            parts = PurePosixPath(member.name).parts
            if member.name.startswith("/") or ".." in parts or not parts:
                raise _refuse(path, f"holds a file that would land outside its directory ({member.name!r})")
            if not member.isreg() or member.issparse():
                raise _refuse(path, f"holds something that is not a plain file ({member.name!r})")
            name = "/".join(parts)
            if name in found:
                raise _refuse(path, f"holds {name!r} twice")
            found[name] = member
            total += member.size
            if len(found) > MAX_MEMBERS or total > MAX_UNPACKED_BYTES:
                raise _refuse(path, "would unpack to more than a model can be")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise _refuse(path, f"is cut short or damaged ({_short(error)})", "copy the model again") from None
    for name in (CONFIG, WEIGHTS):
        if name not in found:
            raise _refuse(path, f"is an archive without {name}")
    return found


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> IO[bytes]:
    stream = tar.extractfile(member)
    if stream is None:
        raise _refuse(path, f"holds something that is not a plain file ({member.name!r})")
    return stream


def _config(stream: IO[bytes], path: Path) -> dict[str, Any]:
    body = stream.read(MAX_CONFIG_BYTES + 1)
    if len(body) > MAX_CONFIG_BYTES:
        raise _refuse(path, f"has a {CONFIG} of more than {MAX_CONFIG_BYTES >> 20} MiB")
    try:
        config = yaml.load(body, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except yaml.constructor.ConstructorError as error:
        raise _refuse(path, f"asks for code in its {CONFIG} ({_short(error)})", "do not use it") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _refuse(path, f"has a {CONFIG} that is not YAML ({_short(error)})") from None
    if isinstance(config, dict) and isinstance(config.get("model"), dict):
        config = config["model"]  # NeMo does the same
    if not isinstance(config, dict):
        raise _refuse(path, f"has a {CONFIG} that is not a mapping")
    for key, value in _strings(config, path):
        if key == "_target_" or (key in ("target", "cls") and "." in value):
            _check_target(value, path)
        if "${oc.env" in value:
            raise _refuse(path, f"reads the environment in its {CONFIG} ({value!r})", "do not use it")
    return config


def _strings(config: dict[str, Any], path: Path) -> Iterator[tuple[object, str]]:
    """Every (key, value) at any depth whose value is a string; items of a list carry the list's key."""
    waiting: list[tuple[object, object]] = [(None, config)]
    seen = 0
    while waiting:
        key, value = waiting.pop()
        seen += 1
        if seen > MAX_CONFIG_NODES:
            raise _refuse(path, f"has a {CONFIG} with more than {MAX_CONFIG_NODES} values")
        if isinstance(value, dict):
            waiting.extend(value.items())
        elif isinstance(value, list):
            waiting.extend((key, item) for item in value)
        elif isinstance(value, str):
            yield key, value


def _check_target(target: str, path: Path) -> None:
    match = TARGET.fullmatch(target)
    if not match or not _is_nemo_module(target.rpartition(".")[0]):
        raise _refuse(path, f"asks for code that is not a NeMo speech class ({target!r})", "do not use it")


def _is_nemo_module(name: str) -> bool:
    """Whether NeMo has this module as a file, so that `nemo.collections.asr.modules.os` is none; imports nothing."""
    spec = importlib.util.find_spec("nemo")
    roots = list(spec.submodule_search_locations or ()) if spec else []
    parts = name.split(".")[1:]
    below = [Path(root).joinpath(*parts) for root in roots]
    return not roots or any(place.is_dir() or place.with_name(f"{place.name}.py").is_file() for place in below)


def _check_weights(stream: IO[bytes], path: Path) -> None:
    try:
        with zipfile.ZipFile(stream) as weights:
            names = weights.namelist()
            pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
            script = any(name.endswith("/constants.pkl") or "/code/" in name for name in names)
            if len(pickles) != 1 or len(set(names)) != len(names) or script:
                raise _refuse(path, f"has a {WEIGHTS} that is not a plain checkpoint of torch")
            if weights.getinfo(pickles[0]).file_size > MAX_PICKLE_BYTES:
                raise _refuse(path, f"has a {WEIGHTS} whose index is too large to be one")
            body = weights.read(pickles[0])
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, NotImplementedError, ValueError) as error:
        raise _refuse(path, f"has a {WEIGHTS} that is not a checkpoint of torch ({_short(error)})") from None
    try:
        for opcode, argument, _ in pickletools.genops(body):
            if opcode.name in OPCODES_WITH_CODE or (opcode.name == "GLOBAL" and not GLOBALS.fullmatch(str(argument))):
                asked = f"{opcode.name} {argument or ''}".strip()
                raise _refuse(path, f"asks for code in its {WEIGHTS} ({asked!r})", "do not use it")
    except ValueError as error:
        raise _refuse(path, f"has a {WEIGHTS} that is damaged ({_short(error)})", "copy the model again") from None


def _info(config: dict[str, Any], path: Path) -> ArchiveInfo:
    target = config.get("target")
    kind = KINDS.get(str(target).rpartition(".")[2])
    if kind is None:
        raise _refuse(path, f"is a {target or 'model of no class'}", f"supported are {', '.join(KINDS)}")
    preprocessor = config.get("preprocessor")
    rate = config.get("sample_rate") or (preprocessor.get("sample_rate") if isinstance(preprocessor, dict) else None)
    if not isinstance(rate, int) or not 4_000 <= rate <= 192_000:
        raise _refuse(path, f"has no usable sample_rate in its {CONFIG} ({rate!r})")
    decoding = config.get("decoding")
    if kind == "rnnt" and isinstance(decoding, dict) and decoding.get("durations"):
        kind = "tdt"
    return ArchiveInfo(target=str(target), sample_rate=rate, kind=kind)
