"""The CustomResourceDefinition, made from the models: a structural schema, rules in CEL, columns, selectable fields.

What kubectl shows and what the API server refuses is decided here and in the models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from transcription_api import names
from transcription_api.job import TranscriptionJob
from transcription_api.types import NAME_MISTAKE

Schema = dict[str, Any]

MUTABLE = frozenset({"suspend", "workers.replicas", "ttlSecondsAfterFinished"})
"""All other fields of the spec stay as they were created."""

_LIMITS = ("enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties")
_EXTENSIONS = ("x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-list-map-keys")
_KEPT = ("type", "format", "description", *_LIMITS, "required", *_EXTENSIONS)
_HEADER = "# Generated from crds/transcription_api by scripts/generate_crd.py: change the models, not this file.\n"

_COLUMNS = (
    ("Phase", "string", ".status.phase", 0, ""),
    ("Done", "string", ".status.progress.summary", 0, "Settled and planned recordings"),
    ("Failed", "integer", ".status.progress.failed", 0, "Recordings without a transcript"),
    ("Speed", "number", ".status.progress.speed", 0, "Seconds of audio per second"),
    ("ETA", "string", ".status.progress.eta", 0, "Time until the last recording is settled, estimated"),
    ("Age", "date", ".metadata.creationTimestamp", 0, ""),
    ("Workers", "string", ".status.workers.summary", 1, "Ready and desired workers"),
    ("Model", "string", ".status.model.name", 1, ""),
    ("Output", "string", ".spec.output.uri", 1, ""),
)


def custom_resource_definition() -> dict[str, Any]:
    """The CRD as JSON-ready data, in the order in which people read it."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": names.CRD_NAME},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.KIND,
                "listKind": names.LIST_KIND,
                "plural": names.PLURAL,
                "singular": names.SINGULAR,
                "shortNames": list(names.SHORT_NAMES),
                "categories": list(names.CATEGORIES),
            },
            "versions": [
                {
                    "name": names.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.workers.replicas",
                            "statusReplicasPath": ".status.workers.active",
                        },
                    },
                    "selectableFields": [{"jsonPath": ".status.phase"}, {"jsonPath": ".spec.model.name"}],
                    "additionalPrinterColumns": [_column(*column) for column in _COLUMNS],
                    "schema": {"openAPIV3Schema": root_schema()},
                }
            ],
        },
    }


def render_crd() -> str:
    """The CRD as YAML, as it stands beside the package."""
    crd = custom_resource_definition()
    return _HEADER + yaml.dump(crd, Dumper=_Dumper, sort_keys=False, width=118, allow_unicode=True)


def root_schema() -> Schema:
    """The structural schema of a whole TranscriptionJob."""
    models = TranscriptionJob.model_json_schema(by_alias=True)
    properties: Schema = models["properties"]
    spec = _structural(properties["spec"], models["$defs"])
    spec["x-kubernetes-validations"] = [*spec.get("x-kubernetes-validations", ()), *_immutability(spec)]
    return {
        "type": "object",
        "description": models["description"],
        "required": ["metadata", "spec"],
        "x-kubernetes-validations": [_name_rule()],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": _structural(properties["status"], models["$defs"]),
        },
    }


def _name_rule() -> dict[str, str]:
    fits = f"size(self.metadata.name) <= {names.MAX_NAME_LENGTH}"
    return {
        "rule": f"{fits} && self.metadata.name.matches(r'{names.NAME_PATTERN}')",
        "message": "; ".join(NAME_MISTAKE),
    }


def _immutability(spec: Schema) -> list[dict[str, str]]:
    """One rule per field, so that the message names it. They stand at the spec, where a removed field is seen too."""
    rules = []
    for path, required in _immutable_fields(spec, ""):
        same = f"self.{path} == oldSelf.{path}"
        if not required:
            same = f"has(self.{path}) == has(oldSelf.{path}) && (!has(self.{path}) || {same})"
        message = f"{path} cannot change; delete the job and apply it anew, finished transcripts are kept"
        rules.append({"rule": same, "message": message, "fieldPath": f".{path}"})
    return rules


def _immutable_fields(schema: Schema, prefix: str) -> Iterator[tuple[str, bool]]:
    """Paths below the spec, each with whether the field is always there (required or defaulted)."""
    for name, child in schema["properties"].items():
        path = f"{prefix}{name}"
        if any(mutable.startswith(f"{path}.") for mutable in MUTABLE):
            yield from _immutable_fields(child, f"{path}.")
        elif path not in MUTABLE:
            yield path, name in schema.get("required", ()) or "default" in child


def _structural(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    """A JSON schema of pydantic as Kubernetes takes it: references resolved, `null` gone, every node with its type."""
    merged = _merged(schema, definitions)
    result: Schema = {key: merged[key] for key in _KEPT if key in merged}
    default = _default(merged)
    if default is not None:
        result["default"] = default
    if "properties" in merged:
        result["properties"] = {name: _structural(child, definitions) for name, child in merged["properties"].items()}
    if merged.get("additionalProperties") is True:
        result["x-kubernetes-preserve-unknown-fields"] = True
    elif isinstance(merged.get("additionalProperties"), Mapping):
        result["additionalProperties"] = _structural(merged["additionalProperties"], definitions)
    if "items" in merged:
        result["items"] = _structural(merged["items"], definitions)
    rules = [*merged.get("x-kubernetes-validations", ()), *_form_rules(merged)]
    if rules:
        result["x-kubernetes-validations"] = rules
        result.pop("pattern", None)
    return result


def _form_rules(schema: Schema) -> list[dict[str, str]]:
    """A pattern as a rule with an example: the API server's own message would show the expression only."""
    if "pattern" not in schema or "examples" not in schema:
        return []
    rule = f"self.matches(r'{schema['pattern']}')"
    return [{"rule": rule, "message": f"has the wrong form; write it like {schema['examples'][0]}"}]


def _merged(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    """The schema with what it refers to; what stands beside a reference or an optional's `anyOf` wins."""
    beside = {key: value for key, value in schema.items() if key not in ("$ref", "anyOf")}
    if "$ref" in schema:
        return _merged(definitions[schema["$ref"].removeprefix("#/$defs/")], definitions) | beside
    if "anyOf" in schema:
        (only,) = (choice for choice in schema["anyOf"] if choice.get("type") != "null")
        return _merged(only, definitions) | beside
    return beside


def _default(schema: Mapping[str, Any]) -> Any:
    """What the API server fills in: `{}` for blocks (their fields have defaults), nothing for empty lists and maps."""
    default = schema.get("default")
    if "properties" in schema and default is not None:
        return {}
    return None if default in ([], {}) else default


def _column(name: str, kind: str, path: str, priority: int, description: str) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path}
    if description:
        column["description"] = description
    if priority:
        column["priority"] = priority
    return column


class _Dumper(yaml.SafeDumper):
    """Repeats values instead of pointing at them with anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
