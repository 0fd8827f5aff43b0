"""Every set of values gives manifests that an API server takes, and that say what the values say."""

from __future__ import annotations

import json
import subprocess

import pytest
import yaml

from tests.chart.helm import (
    CHART,
    NAMESPACE,
    VALUE_FILES,
    VALUES,
    Manifest,
    helm,
    is_hook,
    of_kind,
    one,
    refusal,
    render,
    require,
)
from tests.chart.schemas import write_schemas
from tests.cluster.build import kubernetes_version
from transcription_operator.config import DEFAULT_CONTROL_RESOURCES, Config, read_config

DIGEST = "sha256:" + "0123456789abcdef" * 4
CLUSTER_SCOPED = {"CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}


@pytest.fixture(scope="module")
def schema_location(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_schemas(tmp_path_factory.mktemp("schemas"))


def each_value_file(function):
    return pytest.mark.parametrize("values", VALUE_FILES, ids=lambda path: path.stem)(function)


def complaints(manifests: list[Manifest], schema_location: str) -> list[str]:
    done = subprocess.run(
        [require("kubeconform"), "-strict", "-output=json", f"-schema-location={schema_location}", "-"],
        input=yaml.safe_dump_all(manifests),
        capture_output=True,
        text=True,
    )
    return [f"{r['kind']} {r['name']}: {r['msg']}" for r in json.loads(done.stdout)["resources"]]


@each_value_file
def test_lint_finds_nothing(values):
    helm("lint", "--strict", str(CHART), f"--values={values}", f"--kube-version={kubernetes_version()}")


@each_value_file
def test_manifests_fit_the_schemas_of_the_api_server(values, schema_location):
    assert complaints(render(values), schema_location) == []


def test_kubeconform_would_see_an_unknown_field_a_wrong_type_and_an_unknown_kind(schema_location):
    deployment, service = one(render(), "Deployment"), one(render(), "Service")
    deployment["spec"]["template"]["spec"]["containers"][0]["imagePulPolicy"] = "Never"
    service["spec"]["ports"][0]["port"] = [8080]
    unknown = {"apiVersion": "example.com/v1", "kind": "Unknown", "metadata": {"name": "x"}}
    monitor = one(render(VALUES / "everything.yaml"), "PodMonitor")
    monitor["spec"]["podMetricsEndpoints"][0]["scrapeEvery"] = "30s"
    found = complaints([deployment, service, unknown, monitor], schema_location)
    assert {text.split(" ")[0] for text in found} == {"Deployment", "Service", "Unknown", "PodMonitor"}


@each_value_file
def test_names_are_distinct_and_namespaces_written(values):
    manifests = render(values)
    names = [(m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in manifests]
    assert len(set(names)) == len(names)
    for manifest in manifests:
        assert ("namespace" in manifest["metadata"]) == (manifest["kind"] not in CLUSTER_SCOPED)


def test_two_releases_share_nothing():
    settings = ["crds.enabled=false", "rbac.aggregate=true"]
    one_release = {(m["kind"], m["metadata"]["name"]) for m in render(settings=settings)}
    text = helm("template", "other", str(CHART), "--kube-version=1.34", "--set=crds.enabled=false").stdout
    other = {(m["kind"], m["metadata"]["name"]) for m in yaml.safe_load_all(text)}
    assert one_release.isdisjoint(other)


def test_selectors_never_change_for_an_upgrade_would_fail():
    deployment = one(render(VALUES / "everything.yaml"), "Deployment")
    assert deployment["spec"]["selector"]["matchLabels"] == {
        "app.kubernetes.io/name": "transcription-operator",
        "app.kubernetes.io/instance": "speech",
        "app.kubernetes.io/component": "operator",
    }


def configuration(manifests: list[Manifest]) -> Config:
    """What the operator in these manifests reads."""
    (container,) = one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    return read_config({variable["name"]: variable.get("value", "") for variable in container["env"]})


def test_defaults_reach_the_operator_as_its_own_defaults():
    assert configuration(render()) == Config(
        worker_image="transcription-worker:0.1.0", image_pull_policy="IfNotPresent"
    )
    assert configuration(render()).control_resources == DEFAULT_CONTROL_RESOURCES


def test_every_setting_reaches_the_operator():
    everything = configuration(render(VALUES / "everything.yaml", settings=["httpPort=9090"]))
    assert everything == Config(
        worker_image="transcription-worker:0.1.0",
        image_pull_policy="IfNotPresent",
        image_pull_secrets=("registry", "second-registry"),
        resync_seconds=2.5,
        grace_seconds=600,
        control_resources={"requests": {"cpu": "200m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}},
        http_port=9090,
        log_format="json",
        gpu_hour_price=2.49,
        currency="EUR",
    )
    assert configuration(render(VALUES / "namespaced.yaml")).namespaces == ("team-a", "team-b")


def test_digest_and_registry_name_the_image_exactly():
    manifests = render(VALUES / "air-gapped.yaml")
    pod = one(manifests, "Deployment")["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == f"mirror.example.com/speech/transcription-operator@{DIGEST}"
    assert pod["imagePullSecrets"] == [{"name": "mirror"}]
    assert configuration(manifests).worker_image.startswith("mirror.example.com/speech/transcription-worker@sha256:fed")


@each_value_file
def test_pods_satisfy_the_restricted_standard_and_write_nowhere(values):
    manifests = render(values)
    pods = [one(manifests, "Deployment")["spec"]["template"]["spec"], *(p["spec"] for p in of_kind(manifests, "Pod"))]
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]


def test_common_labels_and_annotations_are_everywhere():
    for manifest in render(VALUES / "everything.yaml"):
        assert manifest["metadata"]["labels"]["team"] == "speech"
        assert manifest["metadata"]["annotations"]["example.com/owner"] == "speech"


def test_definition_is_kept_unless_told_otherwise():
    kept = one(render(), "CustomResourceDefinition")
    assert kept["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    removed = one(render(settings=["crds.keep=false"]), "CustomResourceDefinition")
    assert "annotations" not in removed["metadata"]
    assert of_kind(render(settings=["crds.enabled=false"]), "CustomResourceDefinition") == []


def test_workers_are_reached_by_the_operator_and_scrapers_only():
    policies = {
        p["metadata"]["namespace"]: p["spec"] for p in of_kind(render(VALUES / "everything.yaml"), "NetworkPolicy")
    }
    assert set(policies) == {NAMESPACE, "calls"}
    (rule,) = policies["calls"]["ingress"]
    operator, scraper = rule["from"]
    assert operator["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": NAMESPACE}
    assert operator["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "operator"
    assert scraper["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
    watched = of_kind(render(VALUES / "namespaced.yaml"), "NetworkPolicy")
    assert {p["metadata"]["namespace"] for p in watched} == {NAMESPACE, "team-a", "team-b"}


def test_test_pod_is_let_in_where_scrapers_are_named():
    policies = of_kind(render(VALUES / "everything.yaml"), "NetworkPolicy")
    (own,) = [policy for policy in policies if policy["metadata"]["namespace"] == NAMESPACE]
    labels = one(render(VALUES / "everything.yaml"), "Pod")["metadata"]["labels"]
    selector = own["spec"]["ingress"][0]["from"][-1]["podSelector"]["matchLabels"]
    assert selector.items() <= labels.items()


def test_only_the_pod_is_a_hook_for_helm_asks_for_logs_of_every_hook():
    (hook,) = [manifest for manifest in render() if is_hook(manifest)]
    assert hook["kind"] == "Pod"
    assert hook["metadata"]["annotations"]["helm.sh/hook-delete-policy"] == "before-hook-creation"


def test_kubernetes_before_1_31_is_refused():
    assert ">=1.31.0-0" in refusal(version="1.30.9")


def test_chart_and_package_are_of_one_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = (CHART.parents[1] / "pyproject.toml").read_text()
    assert f'version = "{chart["version"]}"' in project
    assert chart["appVersion"] == chart["version"]
