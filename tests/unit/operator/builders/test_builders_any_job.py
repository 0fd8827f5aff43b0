"""What holds for the Jobs of every TranscriptionJob, whatever its spec says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from transcription_api.job import TranscriptionJob
from transcription_api.load import load_manifest, validate_manifest
from transcription_api.workers import PodTemplate
from transcription_operator import constants
from transcription_operator.builders import build_plan_job, build_report_job, build_work_job
from transcription_operator.builders.environment import manifest_text
from transcription_operator.config import Config

CONFIG = Config(worker_image="example.com/transcription-worker:0.1.0")
OURS = (
    constants.JOB_VARIABLE,
    constants.SCRATCH_VARIABLE,
    constants.CACHE_VARIABLE,
    constants.MODEL_DIRECTORY_VARIABLE,
    constants.LISTEN_VARIABLE,
)

# Text that JSON, YAML and Kubernetes' references read differently.
AWKWARD = st.sampled_from(
    ["$", "$$", "$(HOME)", "\x7f", "\x85", "\u2028", "\ufeff", "\uffff", "\U0001f3a7", "'", '"', "é"]
)
NAMES = st.lists(AWKWARD | st.text(max_size=4), max_size=6).map("".join)
QUANTITIES = st.integers(0, 2**40) | st.from_regex(r"[1-9][0-9]{0,3}(Mi|Gi|Ti)", fullmatch=True)
VARIABLE_NAMES = st.sampled_from([*OURS, "HOME", "PATH", "TMPDIR", "AWS_ACCESS_KEY_ID", "POD_NAME"]) | st.from_regex(
    "[A-Z_]{1,12}", fullmatch=True
)


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


def is_valid(manifest: dict[str, Any]) -> bool:
    try:
        TranscriptionJob.model_validate(manifest, context={"local": False})
    except ValueError:
        return False
    return True


SPECS = st.fixed_dictionaries(
    {
        "input": st.fixed_dictionaries(
            {"uri": st.just("s3://calls/") | NAMES.map(lambda name: f"s3://calls/a{name}/")},
            optional={"include": st.lists(NAMES.map(lambda name: f"{name}.wav"), max_size=3)},
        ),
        "output": st.just({"uri": "s3://transcripts/"}),
        "model": st.sampled_from([{"name": "nvidia/x"}, {"volume": {"claimName": "models", "path": "a/$(b).nemo"}}]),
    },
    optional={
        "storage": optional(
            credentialsSecret=st.just({"name": "s3"}),
            caBundle=st.just({"configMapName": "ca", "key": "ca.crt"}),
            region=st.just("eu-central-1"),
        ),
        "transcription": optional(
            channels=st.sampled_from(["mix", "each", 0, 7]),
            maxSegmentSeconds=st.floats(5, 1200),
            batchSeconds=st.just("auto") | st.integers(1, 10_000),
        ),
        "workers": optional(
            replicas=st.integers(1, 10_000),
            gpus=st.integers(0, 16),
            resources=optional(requests=optional(cpu=QUANTITIES), limits=optional(memory=QUANTITIES)),
            scratch=optional(sizeLimit=QUANTITIES, minFree=QUANTITIES),
            template=optional(
                spec=optional(
                    env=st.lists(st.fixed_dictionaries({"name": VARIABLE_NAMES}, optional={"value": NAMES}), max_size=8)
                )
            ),
        ),
        "failurePolicy": optional(attemptsPerWorker=st.integers(1, 100)),
        "suspend": st.booleans(),
    },
)
METADATA = {"name": "calls", "namespace": "speech", "uid": "5d3f0b1e-8a64-4c0e-9d3f-2b6a1c9e7f10"}
JOBS = (
    SPECS.map(lambda spec: {"metadata": METADATA, "spec": spec})
    .filter(is_valid)
    .map(lambda manifest: TranscriptionJob.model_validate(manifest, context={"local": False}))
)


def containers(job: TranscriptionJob) -> Iterator[dict[str, Any]]:
    for build in (build_plan_job, build_work_job, build_report_job):
        pod = build(job, CONFIG)["spec"]["template"]["spec"]
        yield from [*pod.get("initContainers", []), *pod["containers"]]


def value(container: dict[str, Any], name: str) -> str:
    (found,) = [variable["value"] for variable in container["env"] if variable["name"] == name]
    return str(found)


@given(JOBS)
def test_manifest_in_the_pod_is_the_job_without_its_template(job: TranscriptionJob) -> None:
    text = value(next(containers(job)), constants.JOB_VARIABLE)
    assert "$" not in text, "Kubernetes would take it for a reference to a variable"
    source = f"{text}\n"
    assert validate_manifest(source, local=False) == []
    loaded = load_manifest(source, local=False)
    workers = job.spec.workers.model_copy(update={"template": PodTemplate()})
    assert loaded.spec == job.spec.model_copy(update={"workers": workers})
    assert loaded.metadata == job.metadata


@given(JOBS)
def test_no_variable_stands_twice_and_none_of_the_operators_is_replaced(job: TranscriptionJob) -> None:
    for container in containers(job):
        names = [variable["name"] for variable in container["env"]]
        assert len(names) == len(set(names))
        assert value(container, constants.JOB_VARIABLE) == manifest_text(job)
        assert value(container, constants.SCRATCH_VARIABLE) == constants.SCRATCH_PATH
        assert value(container, constants.CACHE_VARIABLE) == constants.CACHE_PATH
        if container["name"] == "work":
            assert value(container, constants.LISTEN_VARIABLE) == constants.LISTEN_ADDRESS


@given(JOBS)
def test_template_variables_come_last_and_win_over_all_others(job: TranscriptionJob) -> None:
    given = {variable.name: variable.value for variable in job.spec.workers.template.spec.env}
    for container in containers(job):
        env = container["env"]
        wanted = {name: text for name, text in given.items() if name not in OURS}
        last = [variable for variable in env if variable["name"] in wanted]
        tail = [variable for variable in env[-len(given) :] if variable["name"] not in OURS] if given else []
        assert {variable["name"]: variable.get("value") for variable in last} == wanted
        assert tail[-len(last) :] == last if last else True


@given(JOBS)
def test_gpus_are_asked_for_by_the_worker_alone_and_only_where_there_are_any(job: TranscriptionJob) -> None:
    for container in containers(job):
        for kind in ("requests", "limits"):
            asked = container.get("resources", {}).get(kind, {}).get(constants.GPU_RESOURCE, "0")
            assert int(asked) == (job.spec.workers.gpus if container["name"] == "work" else 0)
            assert asked != "0" or constants.GPU_RESOURCE not in container.get("resources", {}).get(kind, {})


@given(JOBS)
def test_every_mount_has_its_volume_and_every_volume_its_mount(job: TranscriptionJob) -> None:
    for build in (build_plan_job, build_work_job, build_report_job):
        pod = build(job, CONFIG)["spec"]["template"]["spec"]
        mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        for container in pod.get("initContainers", []):
            assert mounted.issuperset(mount["name"] for mount in container["volumeMounts"])


@given(JOBS)
def test_worker_job_counts_what_the_spec_says(job: TranscriptionJob) -> None:
    spec = build_work_job(job, CONFIG)["spec"]
    assert spec["completions"] == spec["parallelism"] == job.spec.workers.replicas
    assert spec["backoffLimitPerIndex"] + 1 == job.spec.failure_policy.attempts_per_worker
    assert spec.get("suspend", False) == job.spec.suspend
    command = spec["template"]["spec"]["initContainers"][0]["command"]
    assert re.fullmatch(r"[0-9]+([.0-9]*)(Mi|Gi|Ti)?", command[command.index("--min-free") + 1])
