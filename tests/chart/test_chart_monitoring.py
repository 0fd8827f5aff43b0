"""Alerts fire when they should and only then, and every query of rules and dashboard asks for metrics that exist."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.helm import VALUES, of_kind, one, render
from tests.chart.promtool import promtool

EVERYTHING = VALUES / "everything.yaml"
ALERTS = Path(__file__).with_name("alerts.yaml")
METRIC = re.compile(r"\btranscription_(?:operator|worker)_[a-z_]+")


@pytest.fixture(scope="module")
def rules() -> Any:
    return one(render(EVERYTHING), "PrometheusRule")["spec"]


@pytest.fixture(scope="module")
def dashboard() -> Any:
    (found,) = [m for m in of_kind(render(EVERYTHING), "ConfigMap") if m["metadata"]["name"].endswith("-dashboard")]
    return json.loads(found["data"]["transcription.json"])


def dashboard_queries(dashboard: dict[str, Any]) -> Iterator[str]:
    """With the variables filled in, as Grafana does."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"].replace("$namespace", ".*").replace("$job", ".*")


def run_promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([promtool(), *arguments], capture_output=True, text=True)


def test_prometheus_takes_the_rules_and_the_queries_of_the_dashboard(tmp_path, rules, dashboard):
    records = [{"record": f"panel:{n}", "expr": query} for n, query in enumerate(dashboard_queries(dashboard))]
    groups = [*rules["groups"], {"name": "dashboard", "rules": records}]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    done = run_promtool("check", "rules", tmp_path / "rules.yaml")
    assert done.returncode == 0, done.stderr
    assert f"{sum(len(group['rules']) for group in groups)} rules found" in done.stdout


def test_alerts_fire_when_they_should_and_only_then(tmp_path, rules):
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    (tmp_path / "alerts.yaml").write_text(ALERTS.read_text())
    done = run_promtool("test", "rules", tmp_path / "alerts.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case(rules):
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    tested = {
        case["alertname"]
        for test in yaml.safe_load(ALERTS.read_text())["tests"]
        for case in test.get("alert_rule_test", ())
        if case["exp_alerts"]
    }
    assert tested == alerts


def asked_for(rules: Any, dashboard: Any) -> set[str]:
    """Names in every query, without what a histogram adds to them."""
    queries = (*(rule["expr"] for group in rules["groups"] for rule in group["rules"]), *dashboard_queries(dashboard))
    names = {name for query in queries for name in METRIC.findall(query)}
    return {re.sub("_(bucket|sum|count)$", "", name) for name in names}


def test_every_query_asks_for_a_metric_that_there_is(rules, dashboard):
    from transcription_operator.metrics import Metrics
    from transcription_worker.metrics import HELP, PREFIX

    operators = {
        metric.name + ("_total" if metric.type == "counter" else "") for metric in Metrics().registry.collect()
    }
    workers = {PREFIX + name for name in HELP}
    assert asked_for(rules, dashboard) <= operators | workers


def test_dashboard_fits_grafanas_grid_and_its_panels_are_distinct(dashboard):
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(x, place["y"]) for x in range(place["x"], place["x"] + place["w"])}
        assert not cells & taken, f"{panel['title']} lies over another"
        taken |= cells
        assert panel["type"] == "row" or panel["targets"]


def test_variables_of_the_dashboard_are_used_and_defined(dashboard):
    defined = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$([a-z]+)", json.dumps(dashboard["panels"])))
    assert used == defined


def test_workers_are_found_by_their_labels_and_named_after_their_job():
    monitor = one(render(EVERYTHING), "PodMonitor")["spec"]
    assert monitor["selector"]["matchLabels"] == {
        "app.kubernetes.io/name": "transcription-operator",
        "transcription-operator.io/component": "work",
    }
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert endpoint["port"] == "http"
    assert endpoint["relabelings"] == [
        {
            "sourceLabels": ["__meta_kubernetes_pod_label_transcription_operator_io_job"],
            "targetLabel": "transcription_job",
        }
    ]
    assert monitor["namespaceSelector"] == {"any": True}
    namespaced = one(render(VALUES / "namespaced.yaml"), "PodMonitor")["spec"]
    assert namespaced["namespaceSelector"] == {"matchNames": ["team-a", "team-b"]}
