"""From what pydantic and the rules say about a manifest to sentences that say what to write instead."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from transcription_api.base import MISTAKE, RULE, ApiModel, Rule
from transcription_api.fields import alias_of, child_model, examples, field_named, flow, known_fields, limits
from transcription_api.job import TranscriptionJob
from transcription_api.load import Fault
from transcription_api.manifest_text import Document, Path
from transcription_api.names import API_VERSION, GROUP, KIND

_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "mapping_type": "a block of fields",
    "dict_type": "a block of fields",
    "model_type": "a block of fields",
}


def parse_job(document: Document, *, local: bool) -> tuple[TranscriptionJob | None, list[Fault]]:
    """The job of a document, or every fault in the order of its text."""
    header = list(_header_faults(document))
    if header and document.data.get("kind") != KIND:
        return None, header
    found = {fault.path: fault for fault in header}
    for fault in _structure_faults(TranscriptionJob, document.data, (), document):
        found.setdefault(fault.path, fault)
    try:
        # JSON mode is strict about numbers and text, as the API server is, and still takes lists and enumerations.
        job = TranscriptionJob.model_validate_json(
            json.dumps(document.data), strict=True, context={"local": local}, by_alias=True, by_name=False
        )
    except ValidationError as error:
        for details in error.errors(include_url=False):
            if details["type"] != RULE and not _is_echo(details):
                fault = _field_fault(details, document)
                found.setdefault(fault.path, fault)
        job = None
    faults = sorted(found.values(), key=lambda fault: fault.line or 0)
    return (None, faults) if faults else (job, [])


def _is_echo(details: ErrorDetails) -> bool:
    """A list whose entries are wrong counts as too short as well."""
    return details["type"] == "too_short" and len(details["input"]) >= details["ctx"]["min_length"]


def _header_faults(document: Document) -> Iterator[Fault]:
    for name, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        given = document.data.get(name)
        if given is None:
            yield Fault(name, "is missing", f"write {name}: {wanted}", document.line((name,)))
        elif given != wanted:
            problem = f"{given!r} is not known"
            if name == "apiVersion" and str(given).startswith(f"{GROUP}/"):
                problem = f"version {str(given).removeprefix(f'{GROUP}/')} is not known"
            yield Fault(name, problem, f"write {name}: {wanted}", document.line((name,)))


def _structure_faults(model: type[ApiModel], data: Mapping[str, Any], at: Path, document: Document) -> Iterator[Fault]:
    """Broken rules and empty fields of a block and all below it, also where other fields of it are wrong."""
    candidate = _candidate(model, data)
    for rule in model.rules:
        if not _is_broken(rule, candidate):
            continue
        path = (*at, *rule.at.split(".")) if rule.at else at
        yield Fault(_dotted(path), rule.problem, rule.mend, document.line(path))
    for name, value in data.items():
        info = field_named(model, name)
        if info is None:
            continue
        path = (*at, name)
        child = child_model(info)
        if value is None:
            yield Fault(_dotted(path), "is empty", "write a value, or remove the line", document.line(path))
        elif child is not None and isinstance(value, Mapping):
            yield from _structure_faults(child, value, path, document)
        elif child is not None and isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, Mapping):
                    yield from _structure_faults(child, item, (*path, index), document)


def _is_broken(rule: Rule, candidate: SimpleNamespace) -> bool:
    try:
        return not rule.holds(candidate)
    except (AttributeError, TypeError):  # what it looks at is missing or of another kind: a fault of its own
        return False


def _candidate(model: type[ApiModel], data: Mapping[str, Any]) -> SimpleNamespace:
    """What rules look at: the model's attributes, taken from raw data where the data has them."""
    attributes: dict[str, Any] = {}
    for attribute, info in model.model_fields.items():
        value = data.get(alias_of(info), None if info.is_required() else info.get_default(call_default_factory=True))
        child = child_model(info)
        attributes[attribute] = _candidate(child, value) if child and isinstance(value, Mapping) else value
    return SimpleNamespace(**attributes)


def _field_fault(details: ErrorDetails, document: Document) -> Fault:
    at: Path = tuple(part for part in details["loc"] if part != "[key]")
    problem, mend = _sentence(details, at, document.words.get(at, ""))
    return Fault(_dotted(at), problem, mend, document.line(at))


def _sentence(details: ErrorDetails, at: Path, word: str) -> tuple[str, str]:
    """What is wrong, and what to write instead; `word` is how a scalar stands in the text."""
    kind, given, context = details["type"], details.get("input"), details.get("ctx", {})
    if kind == MISTAKE:
        return context["problem"], context["mend"]
    name = str(at[-1]) if at else ""
    parent, info, is_entry = _resolve(at)
    if kind == "missing":
        return "is missing", f"write {flow(examples(name, info))}" if info else f"write {name}"
    if kind == "extra_forbidden":
        return "is not a known field", _mend_unknown(name, parent)
    if kind == "literal_error" or kind == "enum":
        return f"{_shown(given)} is not one of the choices", _mend_choice(given, str(context["expected"]))
    if kind in _TYPES:
        return f"{_shown(given)} is not {_TYPES[kind]}", _mend_type(kind, given, word, name, info)
    if info is not None:
        return f"{_shown(given)} {_LIMITS.get(kind, 'is not valid')}", _mend_limit(kind, name, info, is_entry=is_entry)
    return str(details["msg"]), "see docs/transcriptionjob.md"


_LIMITS = {
    "greater_than_equal": "is too small",
    "less_than_equal": "is too large",
    "string_too_short": "is too short",
    "string_too_long": "is too long",
    "too_short": "has too few entries",
    "too_long": "has too many entries",
    "string_pattern_mismatch": "has the wrong form",
}


def _mend_limit(kind: str, name: str, info: FieldInfo, *, is_entry: bool) -> str:
    found = limits(info, of_entry=is_entry)
    if kind == "string_pattern_mismatch":
        given = info.examples[0] if info.examples else None
        return f"write it like {flow({name: given})}" if given else f"it must match {found.get('pattern')}"
    if kind in ("greater_than_equal", "less_than_equal"):
        low, high = found.get("ge"), found.get("le")
        return f"write a number from {low} to {high}" if high is not None else f"write a number from {low}"
    unit = "entries" if kind.startswith("too_") else "characters"
    low, high = found.get("min_length", 0), found.get("max_length")
    return f"write {low} to {high} {unit}" if high is not None else f"write at least {low} {unit}"


def _mend_type(kind: str, given: Any, word: str, name: str, info: FieldInfo | None) -> str:
    if kind == "string_type" and isinstance(given, bool | int | float):
        return f'write it in quotes: {name}: "{word}"'
    if kind == "bool_type":
        return "write true or false, without quotes"
    if kind in ("int_type", "float_type") and isinstance(given, str) and _is_number(given):
        return f"write it without quotes: {name}: {given}"
    if kind == "tuple_type" and isinstance(given, str):
        return f"write {flow({name: [given]})}"
    if info is not None:
        return f"write {flow(examples(name, info))}"
    return f"write {_TYPES[kind]}"


def _mend_choice(given: Any, expected: str) -> str:
    choices = expected.replace(" or ", ", ").replace("'", "").split(", ")
    close = difflib.get_close_matches(str(given).lower(), [choice.lower() for choice in choices], n=1)
    if close:
        return f"did you mean {next(choice for choice in choices if choice.lower() == close[0])}"
    return f"write {expected.replace(chr(39), '')}"


def _mend_unknown(name: str, parent: type[ApiModel] | None) -> str:
    here = [] if parent is None else [alias_of(info) for info in parent.model_fields.values()]
    lowered = {field.lower(): field for field in here}
    close = difflib.get_close_matches(name.lower().replace("_", ""), lowered, n=1, cutoff=0.7)
    if close:
        return f"write {lowered[close[0]]}"
    elsewhere = known_fields(TranscriptionJob).get(name, [])
    if len(elsewhere) == 1:
        return f"move it to {elsewhere[0]}"
    return f"remove it; the fields here are {', '.join(here)}" if here else "remove it"


def _resolve(at: Path) -> tuple[type[ApiModel] | None, FieldInfo | None, bool]:
    """The model and the field that the path ends in, and whether it ends in an entry of the field's list or map."""
    model: type[ApiModel] | None = TranscriptionJob
    info: FieldInfo | None = None
    parent: type[ApiModel] | None = None
    is_entry = False
    for part in at:
        is_entry = isinstance(part, int) or (model is None and info is not None)
        if not is_entry:
            parent = model
            info = field_named(parent, str(part)) if parent is not None else None
            model = child_model(info) if info is not None else None
    return parent, info, is_entry


def _dotted(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif "." in part or "/" in part:
            text += f'["{part}"]'
        else:
            text += f".{part}" if text else part
    return text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return repr(text) if isinstance(value, str) else text
