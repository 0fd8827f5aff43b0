"""What a model's configuration may ask for, judged as data. The archive around it: `nemo_archive.py`.

NeMo builds a model from it: imports the classes that it names, opens the files that it names, resolves its references,
and for some tokenizers asks the Hugging Face hub. Of all that only what a speech model is made of is let through.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from transcription_worker.errors import ConfigurationError

Kind = Literal["ctc", "rnnt", "tdt", "hybrid"]

CONFIG = "model_config.yaml"

KINDS: dict[str, Kind] = {
    "EncDecCTCModel": "ctc",
    "EncDecCTCModelBPE": "ctc",
    "EncDecRNNTModel": "rnnt",
    "EncDecRNNTBPEModel": "rnnt",
    "EncDecHybridRNNTCTCModel": "hybrid",
    "EncDecHybridRNNTCTCBPEModel": "hybrid",
}
"""Model classes that the engine can drive; an RNNT with durations is a TDT."""

MAX_BYTES = 16 << 20
MAX_NODES = 500_000
"""Guards against a YAML whose aliases multiply: large vocabularies, listed three times, are a tenth of this."""

SEXAGESIMAL = re.compile(rb"\d(:[0-5]?\d){8}")
"""YAML 1.1 reads `1:30` as 90. A number of a million such places would be computed for hours."""

PARTS = r"asr\.(modules|losses|parts\.submodules\.adapters)|common\.(losses|parts\.adapter_modules)"
TARGET = re.compile(rf"nemo\.collections\.({PARTS})(\.[a-z_][a-z0-9_]*)*\.[A-Z]\w*", re.ASCII)
"""A class of what speech models are built of. Elsewhere in NeMo are classes that fetch and run what they are told to
(tokenizers of the Hugging Face hub), and functions, and whatever else a module happens to import."""

MODEL = re.compile(r"nemo\.collections\.asr\.models(\.[a-z_][a-z0-9_]*)*\.[A-Z]\w*", re.ASCII)

RESOLVER = re.compile(r"\$\{.*:", re.DOTALL)
"""A reference that computes (OmegaConf), such as `${oc.env:NAME}`, in place of `${another.field}`."""

IN_ARCHIVE = "nemo:"
FILE_KEYS = frozenset({"model_path", "vocab_path", "spe_tokenizer_vocab", "vocab_file", "merges_file"})
"""Of a tokenizer: NeMo opens what they name, wherever it is."""
TOKENIZERS = ("bpe", "agg")
"""SentencePiece, alone or several. NeMo's third kind, wpe, is built from files of the hub while the model loads."""


@dataclass(frozen=True, slots=True)
class ArchiveInfo:
    """What the archive declares: the model class, the sample rate in Hz that it hears, and how it decodes."""

    target: str
    sample_rate: int
    kind: Kind


def refuse(path: Path, what: str, cure: str = "give a model saved with NeMo's save_to") -> ConfigurationError:
    return ConfigurationError(f"{path} {what}; {cure}.")


def short(said: object) -> str:
    """The first line of an error or a value, quoted where it has control characters."""
    text = str(said).splitlines()[0].rstrip(":") if str(said) else type(said).__name__
    text = text if len(text) <= 120 else f"{text[:119]}…"
    return text if text.isprintable() else ascii(text)


def read_config(body: bytes, path: Path, files: Collection[str]) -> dict[str, Any]:
    """The configuration of the archive `path`, which holds `files`. Raises ConfigurationError: one sentence."""
    if len(body) > MAX_BYTES:
        raise refuse(path, f"has a {CONFIG} of more than {MAX_BYTES >> 20} MiB")
    if SEXAGESIMAL.search(body):
        raise refuse(path, f"has a number in its {CONFIG} that no model needs", "do not use it")
    try:
        config = yaml.load(body, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except yaml.constructor.ConstructorError as error:
        raise refuse(path, f"asks for code in its {CONFIG} ({short(error)})", "do not use it") from None
    except (yaml.YAMLError, ValueError, ArithmeticError, RecursionError) as error:
        raise refuse(path, f"has a {CONFIG} that is not YAML ({short(error)})") from None
    if isinstance(config, dict) and isinstance(config.get("model"), dict):
        config = config["model"]  # NeMo does the same
    if not isinstance(config, dict):
        raise refuse(path, f"has a {CONFIG} that is not a mapping")
    for key, value in _strings(config, path):
        _check(key, value, path, files)
    _check_tokenizer(config.get("tokenizer"), path)
    return config


def describe(config: dict[str, Any], path: Path) -> ArchiveInfo:
    """What a checked configuration says of the model. Raises ConfigurationError where the engine cannot drive it."""
    target = config.get("target")
    kind = KINDS.get(str(target).rpartition(".")[2])
    if kind is None:
        raise refuse(path, f"is a {short(target or 'model of no class')}", f"supported are {', '.join(KINDS)}")
    preprocessor = config.get("preprocessor")
    rate = config.get("sample_rate") or (preprocessor.get("sample_rate") if isinstance(preprocessor, dict) else None)
    if not isinstance(rate, int) or not 4_000 <= rate <= 192_000:
        raise refuse(path, f"has no usable sample_rate in its {CONFIG} ({short(repr(rate))})")
    decoding = config.get("decoding")
    if kind == "rnnt" and isinstance(decoding, dict) and decoding.get("durations"):
        kind = "tdt"
    return ArchiveInfo(target=str(target), sample_rate=rate, kind=kind)


def _strings(config: dict[str, Any], path: Path) -> Iterator[tuple[object, str]]:
    """Every (key, value) at any depth whose value is a string; items of a list carry the list's key."""
    waiting: list[tuple[object, object]] = [(None, config)]
    seen = 0
    while waiting:
        key, value = waiting.pop()
        seen += 1
        if seen > MAX_NODES:
            raise refuse(path, f"has a {CONFIG} with more than {MAX_NODES} values")
        if isinstance(value, dict):
            waiting.extend(value.items())
        elif isinstance(value, list):
            waiting.extend((key, item) for item in value)
        elif isinstance(value, str):
            yield key, value


def _check(key: object, value: str, path: Path, files: Collection[str]) -> None:
    if key == "_target_" or (key in ("target", "cls") and "." in value):
        known = TARGET.fullmatch(value) or (key == "target" and MODEL.fullmatch(value))
        if not known or not _is_nemo_module(value.rpartition(".")[0]):
            what = f"asks for code that is no part of a NeMo speech model ({short(repr(value))})"
            raise refuse(path, what, "do not use it")
    if RESOLVER.search(value):
        raise refuse(path, f"asks for more than data in its {CONFIG} ({short(repr(value))})", "do not use it")
    named = value.removeprefix(IN_ARCHIVE)
    if (key in FILE_KEYS or named != value) and (named == value or named.removeprefix("./") not in files):
        raise refuse(path, f"names a file in its {CONFIG} that it does not hold ({short(repr(value))})")


def _check_tokenizer(tokenizer: object, path: Path) -> None:
    """A tokenizer's kind is written out: a reference may lead to another one."""
    if tokenizer is None:
        return
    kind = tokenizer.get("type") if isinstance(tokenizer, dict) else tokenizer
    if not isinstance(tokenizer, dict) or str(kind).lower() not in TOKENIZERS:
        raise refuse(
            path,
            f"has a tokenizer of a kind that is not supported ({short(repr(kind))})",
            f"supported are SentencePiece models, as NeMo writes them with type {' or '.join(TOKENIZERS)}",
        )
    languages = tokenizer.get("langs") or {}
    for language in languages.values() if isinstance(languages, dict) else [languages]:
        _check_tokenizer(language, path)


def _is_nemo_module(name: str) -> bool:
    """Whether NeMo has this module as a file, so that `nemo.collections.asr.modules.os` is none; imports nothing."""
    spec = importlib.util.find_spec("nemo")
    roots = list(spec.submodule_search_locations or ()) if spec else []
    parts = name.split(".")[1:]
    below = [Path(root).joinpath(*parts) for root in roots]
    return not roots or any(place.is_dir() or place.with_name(f"{place.name}.py").is_file() for place in below)
