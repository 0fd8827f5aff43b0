"""What can be asked of the models about their own fields: names, limits, children, examples."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from transcription_api.base import ApiModel


def alias_of(info: FieldInfo) -> str:
    """The name in a manifest."""
    return str(info.alias)


def field_named(model: type[ApiModel], name: str) -> FieldInfo | None:
    """The field with that name in a manifest."""
    return next((info for info in model.model_fields.values() if info.alias == name), None)


def child_model(info: FieldInfo) -> type[ApiModel] | None:
    """The model of a block, of an optional block, or of the entries of a list of blocks."""
    return next(
        (part for part in _parts(info.annotation) if isinstance(part, type) and issubclass(part, ApiModel)), None
    )


def limits(info: FieldInfo, *, of_entry: bool = False) -> dict[str, Any]:
    """Bounds by pydantic's names (ge, le, min_length, max_length, pattern) of a field, or of the entries of a list."""
    found: dict[str, Any] = {}
    inner = tuple(_annotations(info.annotation))
    holds_entries = typing.get_origin(info.annotation) in (tuple, Mapping)
    for part in inner if of_entry else (*info.metadata, *(() if holds_entries else inner)):
        for name in ("ge", "le", "min_length", "max_length", "pattern"):
            if getattr(part, name, None) is not None:
                found.setdefault(name, getattr(part, name))
    return found


def examples(name: str, info: FieldInfo) -> dict[str, Any]:
    """A small value for a field, as one would write it: `{"model": {"name": "nvidia/..."}}`."""
    if info.examples:
        value = info.examples[0]
        return {name: [value] if str(info.annotation).startswith("tuple") else value}
    child = child_model(info)
    if child is None:
        return {name: info.get_default(call_default_factory=True) if not info.is_required() else "..."}
    block: dict[str, Any] = {}
    for inner in child.model_fields.values():
        if inner.is_required() or (not block and inner.examples):
            block |= examples(alias_of(inner), inner)
    return {name: block}


def flow(value: Mapping[str, Any]) -> str:
    """One field as one line of YAML: `model: {name: nvidia/...}`."""
    inline = any(isinstance(part, list | Mapping) for part in value.values())
    text = yaml.safe_dump(value, default_flow_style=inline, sort_keys=False, width=10_000, allow_unicode=True).strip()
    return text[1:-1] if inline else text


@cache
def known_fields(model: type[ApiModel]) -> dict[str, list[str]]:
    """Where each field name stands in a manifest: `{"replicas": ["spec.workers.replicas"], ...}`, without status."""
    places: dict[str, list[str]] = {}
    for name, path in _walk(model, ""):
        places.setdefault(name, []).append(path)
    return places


def _walk(model: type[ApiModel], at: str) -> Iterator[tuple[str, str]]:
    for info in model.model_fields.values():
        name = alias_of(info)
        path = f"{at}.{name}" if at else name
        if path == "status":
            continue
        yield name, path
        child = child_model(info)
        if child is not None:
            yield from _walk(child, path)


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in typing.get_args(annotation):
        yield from _parts(argument)


def _annotations(annotation: Any) -> Iterator[Any]:
    """What stands beside the types inside an annotation, such as the bounds of `Annotated[str, Field(...)] | None`."""
    for part in _parts(annotation):
        metadata = getattr(part, "__metadata__", ())
        for entry in metadata:
            yield from entry.metadata if isinstance(entry, FieldInfo) else (entry,)
