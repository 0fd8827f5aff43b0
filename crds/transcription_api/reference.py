"""docs/transcriptionjob.md, made from the CRD's schema: every field with type, default, limits and meaning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transcription_api import names
from transcription_api.crd import MUTABLE, custom_resource_definition

Schema = dict[str, Any]

_INTRODUCTION = f"""\
# TranscriptionJob

<!-- Generated from crds/transcription_api by scripts/generate_crd.py: change the models, not this file. -->

`{names.API_VERSION}`, kind `{names.KIND}`, short name `{names.SHORT_NAMES[0]}`. The smallest job:

```yaml
apiVersion: {names.API_VERSION}
kind: {names.KIND}
metadata:
  name: calls-2026-11
spec:
  input:
    uri: s3://calls/2026/11/
  output:
    uri: s3://transcripts/2026-11/
  model:
    name: nvidia/parakeet-tdt-0.6b-v3
```

Without a cluster the same manifest works with `transcription run -f job.yaml`; `input.uri`, `input.manifest`,
`output.uri` and `model.uri` may then be paths or `file:///` URLs too. `transcription validate -f job.yaml` names every
fault of a manifest at once.

**Name.** At most {names.MAX_NAME_LENGTH} lower-case letters, digits and hyphens, a letter first and no hyphen last
(RFC 1035): the longest name made from it, a pod's `<name>{names.WORK_SUFFIX}-9999-xxxxx`, must fit into 63 characters.

**Changes.** After creation only these can be changed: {", ".join(f"`spec.{path}`" for path in sorted(MUTABLE))}.
Anything else means another job: delete it and apply it anew; transcripts that are still current are kept and skipped.

**Quantities** are Kubernetes quantities: `20Gi`, `512Mi`, `2.5G`, `500m`.
"""


def render_reference() -> str:
    """The whole page."""
    (version,) = custom_resource_definition()["spec"]["versions"]
    root = version["schema"]["openAPIV3Schema"]["properties"]
    sections = [
        _INTRODUCTION,
        *_block("spec", root["spec"]),
        *_block("status", root["status"]),
        _columns(version["additionalPrinterColumns"]),
    ]
    return "\n".join(sections)


def _block(path: str, schema: Schema) -> Iterator[str]:
    """One section for a block of fields, then those for the blocks in it."""
    required = schema.get("required", ())
    rows = [
        f"| `{name}` | {_type(child)} | {_default(child, required=name in required)} | {_limits(child)} "
        f"| {_cell(child.get('description', ''))} |"
        for name, child in schema["properties"].items()
    ]
    heading = "| Field | Type | Default | Limits | Meaning |\n|---|---|---|---|---|"
    yield "\n".join([f"## {path}\n", f"{schema['description']}\n", *_rules(schema), heading, *rows, ""])
    for name, child in schema["properties"].items():
        inner, suffix = (child["items"], "[]") if child.get("type") == "array" else (child, "")
        if "properties" in inner:
            described = inner if inner.get("description") else inner | {"description": child["description"]}
            yield from _block(f"{path}.{name}{suffix}", described)


def _rules(schema: Schema) -> list[str]:
    """What the API server demands of the fields together; that they never change is said once, at the top."""
    messages = [rule["message"] for rule in schema.get("x-kubernetes-validations", ()) if "oldSelf" not in rule["rule"]]
    return [*(f"- Refused: {message}." for message in messages), ""] if messages else []


def _type(schema: Schema) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "integer or string"
    if "enum" in schema:
        return " \\| ".join(f"`{value}`" if value else '`""`' for value in schema["enum"])
    if schema["type"] == "array":
        inner = schema["items"]
        return f"list of {'blocks' if inner.get('type') == 'object' else _type(inner)}"
    if "additionalProperties" in schema:
        return f"map to {_type(schema['additionalProperties'])}"
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return "object"
    return "block" if schema["type"] == "object" else str(schema["type"])


def _default(schema: Schema, *, required: bool) -> str:
    if required:
        return "**required**"
    if "default" not in schema or schema["default"] == {}:
        return ""
    default = schema["default"]
    if isinstance(default, list):
        return f"`[{', '.join(default)}]`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, int | float):
        return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
    return f"`{default}`" if default else '`""`'


def _limits(schema: Schema) -> str:
    parts = []
    if "minimum" in schema or "maximum" in schema:
        parts.append(_range(schema.get("minimum"), schema.get("maximum")))
    if "minItems" in schema or "maxItems" in schema:
        parts.append(f"{_range(schema.get('minItems'), schema.get('maxItems'))} entries")
    if "maxProperties" in schema:
        parts.append(f"up to {schema['maxProperties']} entries")
    if "maxLength" in schema and not schema.get("x-kubernetes-int-or-string"):
        parts.append(f"{_range(schema.get('minLength'), schema['maxLength'])} characters")
    return ", ".join(parts)


def _range(low: float | None, high: float | None) -> str:
    if high is None:
        return f"{low} or more"
    return f"{low} to {high}" if low is not None else f"up to {high}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _columns(columns: list[Schema]) -> str:
    rows = [
        f"| {column['name']} | `{column['jsonPath']}` | {'`-o wide`' if column.get('priority') else 'always'} "
        f"| {column.get('description', '')} |"
        for column in columns
    ]
    heading = f"## Columns of `kubectl get {names.SHORT_NAMES[0]}`\n"
    return "\n".join([heading, "| Column | From | Shown | Meaning |", "|---|---|---|---|", *rows, ""])
