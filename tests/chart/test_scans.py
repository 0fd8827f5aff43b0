"""Static scans: every finding of kube-score, on what the chart renders and on the pods of jobs, is mended or explained.

So is every one of hadolint on the two Dockerfiles. Bandit's scan of the code runs in `make lint`, that of the built
image in `tests/e2e/test_operator_image.py`.
"""

import json
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from scripts.build_images import PARTS
from tests.chart.helm import VALUE_FILES, render, require
from tests.cluster.layout import REPOSITORY

GOLDEN = sorted((REPOSITORY / "tests/unit/operator/builders/golden").iterdir())
WORST = 10
"""kube-score's grade of what it has nothing to say about."""

CHART_EXPLAINED = {
    "container-image-pull-policy": "image.tag is a version and image.digest pins: there is no newer image to pull",
    "pod-networkpolicy": "networkPolicy.enabled asks for a plugin that enforces it; egress depends on where the "
    "API server is; the test's pod lives for seconds",
    "networkpolicy-targets-pod": "the policy of the workers selects the pods of jobs, which the chart does not make",
    "deployment-replicas": "one operator is enough: a pass repeats nothing, and work goes on while it is away",
    "deployment-strategy": "Recreate, so that two versions do not write one status by turns",
}
JOB_EXPLAINED = {
    "container-image-pull-policy": "workers.image is the user's; the operator's default is a version",
    "pod-networkpolicy": "the chart's networkPolicy.enabled selects these pods by their label",
    "container-ephemeral-storage-request-and-limit": "scratch has its own sizeLimit, and resources are the user's: "
    "a request that the user did not write could keep a pod from a GPU node",
    "container-security-context-user-group-id": "the user's own workers.template may run as a low user",
    "container-resources": "resources are the user's, as Kueue needs them to be",
}


@dataclass(frozen=True)
class Finding:
    check: str
    of: str
    where: str
    what: str


def scan(manifests: list[dict], folder: Path) -> Iterator[Finding]:
    """What kube-score says. A CPU limit is not asked for: it slows a pod down on an idle node."""
    file = folder / "manifests.yaml"
    file.write_text(yaml.safe_dump_all(manifests))
    command = [str(require("kube-score")), "score", str(file), "-o", "json", "--ignore-container-cpu-limit"]
    done = subprocess.run(command, capture_output=True, text=True)
    for scanned in json.loads(done.stdout):
        for check in scanned["checks"]:
            if not check["skipped"] and check["grade"] < WORST:
                for comment in check["comments"]:
                    yield Finding(check["check"]["id"], scanned["object_name"], comment["path"], comment["summary"])


@pytest.mark.parametrize("values", VALUE_FILES, ids=lambda path: path.stem)
def test_the_chart_has_no_unexplained_finding(values, tmp_path):
    findings = list(scan(render(values), tmp_path))
    assert [finding for finding in findings if finding.check not in CHART_EXPLAINED] == []


@pytest.mark.parametrize("job", GOLDEN, ids=lambda path: path.name)
def test_the_pods_of_a_job_have_no_unexplained_finding(job, tmp_path):
    manifests = [yaml.safe_load((job / f"{part}.yaml").read_text()) for part in ("plan", "work", "report")]
    findings = list(scan(manifests, tmp_path))
    assert [finding for finding in findings if finding.check not in JOB_EXPLAINED] == []


def test_every_explanation_is_needed(tmp_path):
    chart = {finding.check for values in VALUE_FILES for finding in scan(render(values), tmp_path)}
    jobs = {
        finding.check
        for job in GOLDEN
        for part in ("plan", "work", "report")
        for finding in scan([yaml.safe_load((job / f"{part}.yaml").read_text())], tmp_path)
    }
    assert (chart, jobs) == (set(CHART_EXPLAINED), set(JOB_EXPLAINED))


def test_a_privileged_container_is_found(tmp_path):
    [job] = [yaml.safe_load((GOLDEN[0] / "work.yaml").read_text())]
    job["spec"]["template"]["spec"]["containers"][0]["securityContext"]["privileged"] = True
    assert "container-security-context-privileged" in {finding.check for finding in scan([job], tmp_path)}


def lint(dockerfile: Path) -> list[str]:
    """The rules that hadolint finds broken, whatever their weight."""
    hadolint = Path(sysconfig.get_path("scripts"), "hadolint")
    done = subprocess.run([hadolint, "--no-fail", "--format=json", dockerfile], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [finding["code"] for finding in json.loads(done.stdout)]


@pytest.mark.parametrize("part", PARTS)
def test_the_dockerfiles_have_no_finding(part):
    text = (REPOSITORY / part / "Dockerfile").read_text()
    assert "hadolint ignore" not in text
    assert lint(REPOSITORY / part / "Dockerfile") == []


def test_a_bad_dockerfile_is_found(tmp_path):
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM debian\nUSER root\nRUN cd /tmp && sudo apt-get install python3\n")
    assert {"DL3002", "DL3004", "DL3006"} <= set(lint(bad))
