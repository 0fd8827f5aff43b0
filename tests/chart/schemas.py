"""JSON schemas for kubeconform, made from what an API server itself says that it accepts.

Source of the built-in kinds: the OpenAPI v3 documents of the cluster in $KUBECONFIG; without one those of the
Kubernetes release that the test cluster is built from, which its Go module carries. Kinds of the Prometheus Operator
come from the definitions in its own Go module. All are strict: a field that is not in the schema is an error.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.chart.helm import require
from tests.cluster.build import kubernetes_version

_PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.76.0"
_MONITORING_KINDS = ("podmonitors", "prometheusrules", "servicemonitors")
_REFERENCE = "#/components/schemas/"
_GROUPS = ("v1", "apps/v1", "policy/v1", "networking.k8s.io/v1", "rbac.authorization.k8s.io/v1")
_EXTENSIONS = "apiextensions.k8s.io/v1"

Schema = dict[str, Any]


def write_schemas(folder: Path) -> str:
    """Write one file for each kind; returns what kubeconform takes as -schema-location."""
    for document in _openapi_documents():
        for name, schema in _by_kind(document):
            (folder / name).write_text(json.dumps(schema))
    for path in prometheus_operator_definitions():
        for name, schema in _of_definition(yaml.safe_load(path.read_text())):
            (folder / name).write_text(json.dumps(schema))
    return f"{folder}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json"


def prometheus_operator_definitions() -> list[Path]:
    """The CustomResourceDefinitions of the Prometheus Operator's kinds that the chart makes."""
    folder = _module(_PROMETHEUS_OPERATOR) / "example" / "prometheus-operator-crd"
    return [folder / f"monitoring.coreos.com_{kind}.yaml" for kind in _MONITORING_KINDS]


def _openapi_documents() -> Iterator[Schema]:
    for group in (*_GROUPS, _EXTENSIONS):
        path = f"apis/{group}" if "/" in group else f"api/{group}"
        if os.environ.get("KUBECONFIG"):
            command = [str(require("kubectl")), "get", "--raw", f"/openapi/v3/{path}"]
            yield json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        else:
            specification = _module(f"k8s.io/kubernetes@{kubernetes_version()}") / "api" / "openapi-spec" / "v3"
            yield json.loads((specification / f"{path.replace('/', '__')}_openapi.json").read_text())


@cache
def _module(module: str) -> Path:
    """Where Go keeps a module, which it downloads where needed."""
    go = shutil.which("go")
    assert go is not None, "without Go there is no helm and no test comes here"
    done = subprocess.run([go, "mod", "download", "-json", module], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(json.loads(done.stdout)["Dir"])


def _by_kind(document: Schema) -> Iterator[tuple[str, Schema]]:
    """A schema for each kind of an OpenAPI document, with those that it refers to."""
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        kinds = schema.get("x-kubernetes-group-version-kind", ())
        if len(kinds) == 1 and "apiVersion" in schema.get("properties", {}):
            needed = {other: _strict(schemas[other]) for other in _closure(name, schemas)}
            whole = {"$ref": _REFERENCE + name, "components": {"schemas": needed}}
            yield _file_name(kinds[0]["group"], kinds[0]["version"], kinds[0]["kind"]), whole


def _of_definition(definition: Schema) -> Iterator[tuple[str, Schema]]:
    """A schema for each version of a CustomResourceDefinition."""
    spec = definition["spec"]
    for version in spec["versions"]:
        schema = _strict(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"].pop("additionalProperties", None)
        yield _file_name(spec["group"], version["name"], spec["names"]["kind"]), schema


def _file_name(group: str, version: str, kind: str) -> str:
    """As kubeconform puts it together: the kind, the first word of the group, the version."""
    return "-".join(filter(None, (kind.lower(), group.partition(".")[0], version))) + ".json"


def _closure(name: str, schemas: Schema) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        if (current := waiting.pop()) not in found:
            found.add(current)
            waiting += _references(schemas[current])
    return found


def _references(node: Any) -> Iterable[str]:
    if isinstance(node, dict):
        if isinstance(reference := node.get("$ref"), str):
            yield reference.removeprefix(_REFERENCE)
        for child in node.values():
            yield from _references(child)
    elif isinstance(node, list):
        for child in node:
            yield from _references(child)


def _strict(schema: Any) -> Any:
    """Refuse unknown fields, as `kubectl apply` does, and read Kubernetes' own way to say `integer or string`."""
    if not isinstance(schema, dict):
        return schema
    made = {key: value for key, value in schema.items() if key != "format"}
    for key in ("items", "additionalProperties", "not"):
        if key in made:
            made[key] = _strict(made[key])
    for key in ("allOf", "anyOf", "oneOf"):
        if key in made:
            made[key] = [_strict(child) for child in made[key]]
    if "properties" in made:
        made["properties"] = {name: _strict(child) for name, child in made["properties"].items()}
        if not made.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    if made.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    return made
