"""The CRD is current, structural, small, and says the same as the models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scripts.generate_crd import main as generate
from transcription_api import names
from transcription_api.crd import MUTABLE, custom_resource_definition, root_schema
from transcription_api.globs import BANS, WELL_FORMED, GlobError, translate
from transcription_api.load import validate_manifest
from transcription_api.uri import UriError, parse_object_uri, parse_uri

ROOT = Path(__file__).parent.parent.parent
FILE = ROOT / "crds" / f"{names.CRD_NAME}.yaml"
CRD = custom_resource_definition()
(VERSION,) = CRD["spec"]["versions"]
SCHEMA = root_schema()

Schema = dict[str, Any]


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


NODES = dict(nodes(SCHEMA))
SPEC_NODES = {path: node for path, node in NODES.items() if path.startswith(".spec")}


def rules(schema: Schema) -> list[dict[str, str]]:
    found: list[dict[str, str]] = schema.get("x-kubernetes-validations", [])
    return found


def test_generated_files_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(["--check"]) == 0, capsys.readouterr().out


def test_check_finds_a_stale_file_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "crds").mkdir()
    (tmp_path / "docs").mkdir()
    assert generate(["--check"], tmp_path) == 1
    assert not list((tmp_path / "crds").iterdir())
    assert generate([], tmp_path) == 0
    page = tmp_path / "docs" / "transcriptionjob.md"
    page.write_text("old", "utf-8")
    capsys.readouterr()
    assert generate(["--check"], tmp_path) == 1
    assert capsys.readouterr().out.startswith("docs/transcriptionjob.md: stale")
    assert page.read_text("utf-8") == "old"


def test_file_is_what_the_models_say_and_small() -> None:
    text = FILE.read_text("utf-8")
    assert yaml.safe_load(text) == CRD
    assert len(text.encode()) < 100_000
    assert "&id" not in text


def test_names() -> None:
    assert CRD["metadata"]["name"] == "transcriptionjobs.transcription-operator.io"
    assert CRD["spec"]["scope"] == "Namespaced"
    assert CRD["spec"]["names"]["shortNames"] == ["tj"]
    assert VERSION["name"] == "v1alpha1"
    scale = {"specReplicasPath": ".spec.workers.replicas", "statusReplicasPath": ".status.workers.active"}
    assert VERSION["subresources"] == {"status": {}, "scale": scale}
    for path in scale.values():
        node = VERSION["schema"]["openAPIV3Schema"]
        for name in path.strip(".").split("."):
            node = node["properties"][name]
        assert node["type"] == "integer"


@pytest.mark.parametrize("path", NODES)
def test_node_is_structural(path: str) -> None:
    node = NODES[path]
    assert node.get("type") in {"object", "array", "string", "integer", "number", "boolean"} or (
        node.get("x-kubernetes-int-or-string") is True and "type" not in node
    )
    assert not set(node) & {"$ref", "anyOf", "oneOf", "allOf", "not", "nullable", "title", "examples", "const", "$defs"}
    assert not ("properties" in node and "additionalProperties" in node)
    assert set(node.get("required", ())) <= set(node.get("properties", ()))
    if node.get("type") == "array":
        assert "items" in node


@pytest.mark.parametrize("path", SPEC_NODES)
def test_everything_in_the_spec_is_bounded(path: str) -> None:
    """CEL costs are estimated from these limits: what has none counts as megabytes."""
    node = SPEC_NODES[path]
    if node.get("type") == "array":
        assert node["maxItems"] <= 128
    if isinstance(node.get("additionalProperties"), dict):
        assert node["maxProperties"] <= 64
    if (node.get("type") == "string" and "enum" not in node) or node.get("x-kubernetes-int-or-string"):
        assert node["maxLength"] <= 32_768


def test_every_field_is_described() -> None:
    undescribed = [
        path
        for path, node in NODES.items()
        if path and not path.endswith(("[]", "{}")) and path.count(".") > 1 and not node.get("description")
    ]
    assert undescribed == []


def test_unknown_fields_are_kept_only_where_kubernetes_types_go() -> None:
    kept = {path for path, node in NODES.items() if node.get("x-kubernetes-preserve-unknown-fields")}
    assert kept
    assert all(path.startswith(".spec.workers.template.spec.") for path in kept)
    assert not any("properties" in NODES[path] for path in kept), "CEL would not see the rest when it compares"


@pytest.mark.parametrize("path", [path for path, node in NODES.items() if rules(node)])
def test_rules_say_what_to_write_and_name_fields_that_exist(path: str) -> None:
    node = NODES[path]
    for rule in rules(node):
        assert re.search("; .|, finished transcripts are kept$", rule["message"]), rule
        assert len(rule["message"]) <= 2048
        if "properties" not in node or not path:
            continue
        without_texts = re.sub(r"r?'[^']*'", "''", rule["rule"])
        for field in re.findall(r"\b(?:self|oldSelf)\.((?:\w+\.)*\w+)\b(?!\()", without_texts):
            assert resolve(node, field), f"{path}: {field}"
        if "fieldPath" in rule:
            assert resolve(node, rule["fieldPath"].removeprefix(".")), rule


def resolve(schema: Schema, dotted: str) -> Schema | None:
    for name in dotted.split("."):
        schema = schema.get("properties", {}).get(name)
        if schema is None:
            return None
    return schema


def test_columns_and_selectable_fields_point_at_fields_of_their_type() -> None:
    columns = VERSION["additionalPrinterColumns"]
    assert [column["name"] for column in columns if not column.get("priority")] == [
        "Phase",
        "Done",
        "Failed",
        "Speed",
        "ETA",
        "Age",
    ]
    assert [column["name"] for column in columns if column.get("priority")] == ["Workers", "Model", "Output"]
    for column in columns:
        field = resolve(SCHEMA, column["jsonPath"].removeprefix("."))
        assert column["name"] == "Age" or (field and field["type"] == column["type"]), column
    for selectable in VERSION["selectableFields"]:
        field = resolve(SCHEMA, selectable["jsonPath"].removeprefix("."))
        assert field and field["type"] in {"string", "boolean", "integer"}


def test_exactly_the_mutable_fields_have_no_immutability_rule() -> None:
    fixed = {
        rule["fieldPath"].removeprefix(".") for rule in rules(SCHEMA["properties"]["spec"]) if "oldSelf" in rule["rule"]
    }
    spec = SCHEMA["properties"]["spec"]["properties"]
    everything = {name for name in spec if name != "workers"} | {
        f"workers.{name}" for name in spec["workers"]["properties"]
    }
    assert everything - fixed == MUTABLE


def test_defaults_are_those_of_the_models() -> None:
    """The API server and `transcription run` fill in the same."""
    text = yaml.safe_dump(MINIMAL)
    assert validate_manifest(text, False) == []
    filled = fill(MINIMAL["spec"], SCHEMA["properties"]["spec"])
    from transcription_api.job import TranscriptionJob

    assert TranscriptionJob.model_validate(MINIMAL | {"spec": filled}) == TranscriptionJob.model_validate(MINIMAL)
    assert filled["transcription"]["maxSegmentSeconds"] == 30
    assert filled["workers"]["scratch"] == {"sizeLimit": "20Gi", "medium": "", "minFree": "1Gi"}
    assert filled["output"]["formats"] == ["json", "srt"]


MINIMAL: dict[str, Any] = {
    "apiVersion": names.API_VERSION,
    "kind": names.KIND,
    "metadata": {"name": "calls"},
    "spec": {
        "input": {"uri": "s3://calls/"},
        "output": {"uri": "s3://transcripts/"},
        "model": {"name": "nvidia/parakeet-tdt-0.6b-v3"},
    },
}


def fill(value: Any, schema: Schema) -> Any:
    """Defaulting as the API server does it: a block that is there, or has a default, gets those of its fields."""
    if not isinstance(value, dict):
        return value
    filled = dict(value)
    for name, child in schema.get("properties", {}).items():
        if name not in filled and "default" in child:
            filled[name] = child["default"]
        if name in filled:
            filled[name] = fill(filled[name], child)
    return filled


def accepted(schema: Schema, text: str) -> bool:
    """Whether the rules of a text field, all of the form `self.matches(...)` or its opposite, hold.

    The expressions use only what Python and RE2 read alike, but for `$`, which RE2 takes for the very end.
    """
    for rule in rules(schema):
        form = re.fullmatch(r"(!?)self\.matches\(r'(.*)'\)", rule["rule"])
        assert form is not None
        expression = re.sub(r"\$(?=\)|$)", r"\\Z", form[2])
        if bool(re.search(expression, text)) is bool(form[1]):
            return False
    return True


URIS = st.one_of(
    st.from_regex(r"s3://[a-zA-Z0-9._-]{0,6}(/[a-z/ü ]{0,6})?", fullmatch=True), st.text("s3:/calx.-_", max_size=14)
)


@given(URIS)
def test_api_server_and_parser_agree_on_uris(text: str) -> None:
    for path, parse in ((".spec.output.uri", parse_uri), (".spec.model.uri", parse_object_uri)):
        try:
            parse(text, local=False)
        except UriError:
            assert not accepted(NODES[path], text)
        else:
            assert accepted(NODES[path], text)


@given(st.text("ab/*?[]!{}\\", max_size=10))
def test_api_server_and_compiler_agree_on_globs(glob: str) -> None:
    """But for the order of a range such as [b-a], which no regular expression can tell."""
    assert len(rules(NODES[".spec.input.include[]"])) == len([*BANS, WELL_FORMED])
    try:
        translate(glob)
    except GlobError:
        assert not accepted(NODES[".spec.input.include[]"], glob)
    else:
        assert accepted(NODES[".spec.input.include[]"], glob)


def test_longest_name_leaves_room_for_every_child() -> None:
    longest = "a" * names.MAX_NAME_LENGTH
    assert len(f"{longest}{names.WORK_SUFFIX}-{names.MAX_REPLICAS - 1}-xxxxx") == 63
    assert len(f"{longest}{names.REPORT_SUFFIX}-xxxxx") <= 63
    assert SPEC_NODES[".spec.workers.replicas"]["maximum"] == names.MAX_REPLICAS


def test_example_in_the_reference_is_valid() -> None:
    page = (ROOT / "docs" / "transcriptionjob.md").read_text("utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert validate_manifest(example, False) == []
