"""What the operator may do, exactly: this test fails on every right that is added and on every one that is missing."""

from __future__ import annotations

import re

import pytest

from tests.chart.helm import CHART, NAMESPACE, VALUE_FILES, VALUES, Manifest, of_kind, one, render

Rights = set[tuple[str, str, str]]

OPERATOR: Rights = {
    *(("transcription-operator.io", "transcriptionjobs", verb) for verb in ("get", "list", "watch", "delete")),
    *(("transcription-operator.io", "transcriptionjobs/status", verb) for verb in ("get", "patch")),
    ("transcription-operator.io", "transcriptionjobs/finalizers", "update"),
    *(("batch", "jobs", verb) for verb in ("get", "list", "watch", "create", "patch", "delete")),
    *(("", "pods", verb) for verb in ("get", "list", "watch")),
    *(("", "events", verb) for verb in ("create", "list")),
    ("", "namespaces", "get"),
}
EDIT = {
    *(
        ("transcription-operator.io", "transcriptionjobs", verb)
        for verb in ("create", "delete", "deletecollection", "patch", "update")
    ),
    *(("transcription-operator.io", "transcriptionjobs/scale", verb) for verb in ("patch", "update")),
}
VIEW = {
    *(("transcription-operator.io", "transcriptionjobs", verb) for verb in ("get", "list", "watch")),
    *(("transcription-operator.io", f"transcriptionjobs/{part}", "get") for part in ("status", "scale")),
}
TEST = {("transcription-operator.io", "transcriptionjobs", verb) for verb in ("create", "get", "delete")}


def rights(role: Manifest) -> Rights:
    assert all(set(rule) == {"apiGroups", "resources", "verbs"} for rule in role["rules"]), "an unusual rule"
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def operators(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """Roles or bindings of the operator itself, not of people and not of the test."""
    return of_component(manifests, kind, "operator")


def of_component(manifests: list[Manifest], kind: str, component: str) -> list[Manifest]:
    return [
        manifest
        for manifest in of_kind(manifests, kind)
        if manifest["metadata"]["labels"]["app.kubernetes.io/component"] == component
    ]


def test_cluster_wide_rights_are_exactly_these():
    manifests = render()
    (role,) = operators(manifests, "ClusterRole")
    assert rights(role) == OPERATOR
    (binding,) = operators(manifests, "ClusterRoleBinding")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    account = operators(manifests, "ServiceAccount")[0]["metadata"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account["name"], "namespace": NAMESPACE}]
    assert operators(manifests, "Role") == []


def test_the_installation_page_lists_every_right():
    page = (CHART.parents[1] / "docs" / "helm.md").read_text()
    page = page.partition("## What the operator may do")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([a-z.-]*) ?\| ([a-z/]+) \| ([a-z, ]+) \|", page, re.MULTILINE)
    listed = {(group, resource, verb) for group, resource, verbs in rows for verb in verbs.split(", ")}
    assert listed == OPERATOR


def test_watched_namespaces_get_a_role_each_and_the_cluster_none():
    manifests = render(VALUES / "namespaced.yaml")
    assert of_kind(manifests, "ClusterRole") == of_kind(manifests, "ClusterRoleBinding") == []
    roles = operators(manifests, "Role")
    assert [role["metadata"]["namespace"] for role in roles] == ["team-a", "team-b"]
    bindings = operators(manifests, "RoleBinding")
    assert [binding["metadata"]["namespace"] for binding in bindings] == ["team-a", "team-b"]
    for role, binding in zip(roles, bindings, strict=True):
        assert rights(role) == OPERATOR
        assert binding["roleRef"] == {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "Role",
            "name": role["metadata"]["name"],
        }
        assert [subject["namespace"] for subject in binding["subjects"]] == [NAMESPACE]


def test_people_get_their_rights_through_the_clusters_own_roles():
    roles = {
        role["metadata"]["name"].rpartition("-")[2]: role
        for role in of_component(render(), "ClusterRole", "user-access")
    }
    assert {name: rights(role) for name, role in roles.items()} == {"edit": EDIT, "view": VIEW}
    aggregated = {
        name: {label for label in role["metadata"]["labels"] if "aggregate-to" in label} for name, role in roles.items()
    }
    assert aggregated == {
        "edit": {
            "rbac.authorization.k8s.io/aggregate-to-edit",
            "rbac.authorization.k8s.io/aggregate-to-admin",
        },
        "view": {"rbac.authorization.k8s.io/aggregate-to-view"},
    }
    assert of_kind(render(settings=["rbac.aggregate=false", "rbac.create=false"]), "ClusterRole") == []


def test_helm_test_may_touch_jobs_of_its_namespace_only():
    for values, namespace in ((VALUES / "default.yaml", NAMESPACE), (VALUES / "namespaced.yaml", "team-a")):
        (role,) = of_component(render(values), "Role", "test")
        assert rights(role) == TEST
        assert role["metadata"]["namespace"] == namespace


@pytest.mark.parametrize("values", VALUE_FILES, ids=lambda path: path.stem)
def test_only_pods_that_ask_get_a_token(values):
    manifests = render(values)
    assert all(account["automountServiceAccountToken"] is False for account in of_kind(manifests, "ServiceAccount"))
    assert one(manifests, "Deployment")["spec"]["template"]["spec"]["automountServiceAccountToken"] is True
