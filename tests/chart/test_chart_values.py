"""Values are documented, wrong ones are refused with a sentence, and what is generated is current."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from scripts.generate_chart import generated_files
from scripts.generate_chart import main as generate_chart
from scripts.values_reference import UndocumentedError, read_sections, render_values
from tests.chart.helm import CHART, refusal, render
from tests.cluster.layout import REPOSITORY

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
UNSET = {"probe": {"initialDelaySeconds", "successThreshold", "terminationGracePeriodSeconds"}, "resources": {"claims"}}
"""What the schema allows and values.yaml does not mention, by definition of the schema."""


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("replicas=2", "at '': additional properties 'replicas' not allowed"),
        ("worker.grace=60", "at '/worker': additional properties 'grace' not allowed"),
        ("image.digest=sha256:abc", "at '/image/digest': 'sha256:abc' does not match pattern"),
        ("image.repository=a@sha256", "at '/image/repository': 'a@sha256' does not match pattern"),
        ("image.repository=speech/operator:1", "at '/image/repository': 'speech/operator:1' does not match pattern"),
        ("nameOverride=Speech", "at '/nameOverride': 'Speech' does not match pattern"),
        ("fullnameOverride=1st", "at '/fullnameOverride': '1st' does not match pattern"),
        ("registry=https://r.example.com/speech", "names of images have none: write r.example.com/speech."),
        ("extraEnv[0].name=TRANSCRIPTION_HTTP_PORT", "extraEnv: TRANSCRIPTION_HTTP_PORT is the chart's"),
        ("image.pullPolicy=Sometimes", "value must be one of 'Always', 'IfNotPresent', 'Never'"),
        ("commonLabels.number=1", "at '/commonLabels/number': got number, want string"),
        ("watch.namespaces=team-a", "at '/watch/namespaces': got string, want array"),
        ("watch.namespaces[0]=Team", "at '/watch/namespaces/0': 'Team' does not match pattern"),
        ("imagePullSecrets[0].name=x", "at '/imagePullSecrets/0': got object, want string"),
        ("worker.graceSeconds=5", "at '/worker/graceSeconds': minimum: got 5, want 30"),
        ("cost.gpuHour=-1", "at '/cost/gpuHour': minimum: got -1, want 0"),
        (
            "worker.controlResources.limits.memory=1GB",
            "at '/worker/controlResources/limits/memory': '1GB' does",
        ),
        ("resources.requests.cpu=-1", "at '/resources/requests/cpu': minimum: got -1, want 0"),
        ("logFormat=xml", "at '/logFormat': value must be one of 'text', 'json'"),
        ("livenessProbe.exec.command[0]=x", "at '/livenessProbe': additional properties 'exec' not allowed"),
        ("metrics.prometheusRule.failedShare=10", "at '/metrics/prometheusRule/failedShare': maximum: got 10, want 1"),
        (r"commonLabels.app\.kubernetes\.io/name=x", "app.kubernetes.io/name is set by the chart: remove it."),
        (r"podLabels.app\.kubernetes\.io/component=x", "app.kubernetes.io/component is set by the chart: remove it."),
        ("serviceAccount.create=false", "Name a ServiceAccount that exists."),
        ("metrics.service.enabled=false,metrics.serviceMonitor.enabled=true", "set metrics.service.enabled to true."),
        ("watch.namespaces={a},tests.namespace=b", "tests.namespace: b is not watched: name one of watch.namespaces."),
    ],
)
def test_wrong_values_are_refused_with_a_sentence(setting, sentence):
    assert sentence in refusal(settings=[setting])


@pytest.mark.parametrize("repository", ["operator", "speech/operator", "r.example.com:5000/speech/operator"])
def test_a_repository_may_name_a_registry_with_its_port(repository):
    assert any(
        f"image: {repository}:" in yaml.safe_dump(m) for m in render(settings=[f"image.repository={repository}"])
    )


def keys(values: Any, schema: dict[str, Any], path: str = "") -> None:
    """Every mapping of values.yaml that the schema closes has exactly the schema's keys."""
    allowed: set[str] = set()
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        schema, allowed = SCHEMA["definitions"][name], UNSET.get(name, set())
    if "properties" not in schema:
        return
    assert schema.get("additionalProperties") is False, f"{path} is open"
    optional = allowed | ({"global"} if not path else set())
    assert set(values) - optional <= set(schema["properties"]) <= set(values) | optional | {"requests", "limits"}, path
    for key, value in values.items():
        keys(value, schema["properties"][key], f"{path}.{key}")


def test_schema_and_values_have_the_same_keys():
    keys(DEFAULTS, SCHEMA)


def test_generated_files_are_current():
    assert generate_chart(["--check"]) == 0


def test_stale_files_are_found(tmp_path):
    for path in generated_files(REPOSITORY):
        copy = tmp_path / path.relative_to(REPOSITORY)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text("stale")
    values = tmp_path / CHART.relative_to(REPOSITORY) / "values.yaml"
    values.write_text((CHART / "values.yaml").read_text())
    assert generate_chart(["--check"], tmp_path) == 1
    assert generate_chart([], tmp_path) == 0
    assert generate_chart(["--check"], tmp_path) == 0


def test_definition_in_the_chart_is_the_one_in_crds():
    (definition,) = [m for m in render() if m["kind"] == "CustomResourceDefinition"]
    original = yaml.safe_load((REPOSITORY / "crds" / "transcriptionjobs.transcription-operator.io.yaml").read_text())
    assert definition["spec"] == original["spec"]
    assert definition["metadata"]["name"] == original["metadata"]["name"]


def test_every_value_is_documented():
    listed = [value.path for _, values in read_sections((CHART / "values.yaml").read_text()) for value in values]
    assert {path[0] for path in listed} == set(DEFAULTS)
    assert len(set(listed)) == len(listed) > 60


def test_an_undocumented_value_is_found():
    with pytest.raises(UndocumentedError, match=r"b\.d has no comment"):
        render_values("## Title\n\n# One.\na: 1\nb:\n  # Two.\n  c: 2\n  d: 3\n")
