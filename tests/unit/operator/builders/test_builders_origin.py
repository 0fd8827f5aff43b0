"""Every entry that a job's template adds to a child is found again from its place there; the operator's own are not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.unit.operator.builders.test_builders_golden import BUILDERS, DEFAULTS, GOLDEN
from transcription_api.load import load_manifest
from transcription_api.workers import EnvVar, Volume, VolumeMount
from transcription_operator.builders import build_plan_job, build_work_job, origin

JOB = load_manifest(GOLDEN / "everything" / "job.yaml", local=False)
WORK = build_work_job(JOB, DEFAULTS)
POD = "spec.template.spec"
OURS = "spec.workers.template"
Named = Volume | VolumeMount | EnvVar


@pytest.mark.parametrize("kind", BUILDERS)
def test_entries_of_the_template_lead_back_to_it(kind: str) -> None:
    body = BUILDERS[kind](JOB, DEFAULTS)
    pod, spec = body["spec"]["template"]["spec"], JOB.spec.workers.template.spec
    lists: list[tuple[str, list[dict[str, str]], str, Sequence[Named]]] = [
        (f"{POD}.volumes", pod["volumes"], "volumes", spec.volumes)
    ]
    for group in ("initContainers", "containers"):
        for number, container in enumerate(pod.get(group, ())):
            place = f"{POD}.{group}[{number}]"
            lists.append((f"{place}.volumeMounts", container["volumeMounts"], "volumeMounts", spec.volume_mounts))
            lists.append((f"{place}.env", container["env"], "env", spec.env))
    for place, entries, name, added in lists:
        assert added, "the case has none: the test would prove nothing"
        names = {entry.name: number for number, entry in enumerate(added)}
        for number, entry in enumerate(entries):
            found = origin(f"{place}[{number}].name", body, JOB)
            if number >= len(entries) - len(added):
                assert found == f"{OURS}.spec.{name}[{names[entry['name']]}].name"
            else:
                assert found == f"{place}[{number}].name"


@pytest.mark.parametrize(
    ("field", "found"),
    [
        (f"{POD}.containers[0].resources.requests", "spec.workers.resources.requests"),
        (f"{POD}.initContainers[0].resources.limits[cpu]", "spec.workers.resources.limits[cpu]"),
        (f"{POD}.containers[0].image", "spec.workers.image"),
        (f"{POD}.tolerations[0].operator", f"{OURS}.spec.tolerations[0].operator"),
        (f"{POD}.securityContext.runAsUser", f"{OURS}.spec.securityContext.runAsUser"),
        (f"{POD}.serviceAccountName", f"{OURS}.spec.serviceAccountName"),
        ("spec.template.labels", f"{OURS}.metadata.labels"),
        ("spec.template.metadata.annotations", f"{OURS}.metadata.annotations"),
    ],
)
def test_a_field_that_a_user_wrote_is_named_as_it_was_written(field: str, found: str) -> None:
    assert origin(field, WORK, JOB) == found


@pytest.mark.parametrize(
    "field",
    [
        "spec.completions",
        "metadata.labels",
        f"{POD}.restartPolicy",
        f"{POD}.containers[0].name",
        f"{POD}.containers[7].image",
        f"{POD}.ephemeralContainers[0].image",
        f"{POD}.volumes[99].name",
        f"{POD}",
        "",
    ],
)
def test_what_nobody_wrote_keeps_its_name(field: str) -> None:
    assert origin(field, WORK, JOB) == field


def test_resources_of_the_plan_are_the_charts() -> None:
    found = origin(f"{POD}.containers[0].resources.requests", build_plan_job(JOB, DEFAULTS), JOB)
    assert found == "worker.controlResources.requests of the operator's chart"
