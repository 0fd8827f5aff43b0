"""Who wins where two sides say something, what CPU pods take from the workers' template, and what cannot be built."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from transcription_api import names
from transcription_api.job import TranscriptionJob
from transcription_api.names import Component
from transcription_operator.builders import (
    ManifestTooLargeError,
    build_plan_job,
    build_report_job,
    build_work_job,
    child_name,
)
from transcription_operator.config import Config

CONFIG = Config(worker_image="example.com/transcription-worker:0.1.0", image_pull_secrets=("registry",))
QUEUE = {names.LABEL_QUEUE_NAME: "gpus", names.LABEL_QUEUE_PRIORITY: "nightly"}


def job(labels: dict[str, str] | None = None, template: dict[str, Any] | None = None, **spec: Any) -> TranscriptionJob:
    workers = {**spec.pop("workers", {}), "template": {"spec": template or {}}}
    metadata = {"name": "calls", "namespace": "speech", "uid": "5d3f0b1e", "labels": labels or {}}
    base: dict[str, Any] = {
        "input": {"uri": "s3://calls/"},
        "output": {"uri": "s3://transcripts/"},
        "model": {"name": "nvidia/parakeet-tdt-0.6b-v3"},
    }
    return TranscriptionJob.model_validate({"metadata": metadata, "spec": {**base, **spec, "workers": workers}})


def pod(built: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = built["spec"]["template"]["spec"]
    return found


def volume(built: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [{**volume} for volume in pod(built)["volumes"] if volume["name"] == name]
    del found["name"]
    return found


def test_longest_name_leaves_room_for_the_pods_of_ten_thousand_workers() -> None:
    longest = "a" * names.MAX_NAME_LENGTH
    assert [child_name("calls", component) for component in Component] == ["calls-plan", "calls-work", "calls-report"]
    assert all(len(child_name(longest, component)) + len("-9999-xxxxx") <= 65 for component in Component)
    assert len(f"{child_name(longest, Component.WORK)}-9999-xxxxx") == 63


def test_the_report_is_told_the_price_of_a_gpu_where_one_is_set() -> None:
    def told(price: float) -> dict[str, str]:
        built = build_report_job(job(), replace(CONFIG, gpu_hour_price=price, currency="EUR"))
        (container,) = pod(built)["containers"]
        return {one["name"]: one["value"] for one in container["env"] if one["name"].endswith(("_PRICE", "_CURRENCY"))}

    assert told(2.49) == {"TRANSCRIPTION_GPU_HOUR_PRICE": "2.49", "TRANSCRIPTION_CURRENCY": "EUR"}
    assert told(0) == {}


def test_kueue_labels_reach_the_work_job_and_neither_its_pods_nor_the_cpu_jobs() -> None:
    queued = job(labels={**QUEUE, "team": "speech"})
    work = build_work_job(queued, CONFIG)
    assert work["metadata"]["labels"].items() >= QUEUE.items()
    assert "team" not in work["metadata"]["labels"]
    assert not QUEUE.keys() & work["spec"]["template"]["metadata"]["labels"].keys()
    for built in (build_plan_job(queued, CONFIG), build_report_job(queued, CONFIG)):
        assert not QUEUE.keys() & built["metadata"]["labels"].keys()


@pytest.mark.parametrize("labels", [QUEUE, {names.LABEL_QUEUE_NAME: "gpus"}])
def test_suspend_of_a_queued_job_is_left_to_kueue(labels: dict[str, str]) -> None:
    assert "suspend" not in build_work_job(job(labels=labels, suspend=True), CONFIG)["spec"]


def test_priority_without_a_queue_leaves_suspend_to_the_operator() -> None:
    prioritised = job(labels={names.LABEL_QUEUE_PRIORITY: "nightly"}, suspend=True)
    assert build_work_job(prioritised, CONFIG)["spec"]["suspend"] is True


def test_cpu_pods_run_where_gpu_pods_could_and_need_no_gpu_node() -> None:
    placed = job(
        template={
            "nodeSelector": {"nvidia.com/gpu.product": "H100", "kubernetes.io/arch": "amd64"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "topologySpreadConstraints": [{"maxSkew": 1}],
            "runtimeClassName": "nvidia",
            "priorityClassName": "batch",
        }
    )
    for build in (build_plan_job, build_report_job):
        plan = pod(build(placed, CONFIG))
        assert plan["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
        assert plan["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
        assert plan["priorityClassName"] == "batch"
        assert not plan.keys() & {"affinity", "topologySpreadConstraints", "runtimeClassName"}
    work = pod(build_work_job(placed, CONFIG))
    assert work["nodeSelector"] == {"nvidia.com/gpu.product": "H100", "kubernetes.io/arch": "amd64"}
    assert work["runtimeClassName"] == "nvidia"


def test_selector_for_gpus_alone_leaves_cpu_pods_without_one() -> None:
    assert "nodeSelector" not in pod(build_plan_job(job(template={"nodeSelector": {"nvidia.com/mig": "x"}}), CONFIG))


def test_cpu_pods_mount_neither_scratch_claim_nor_cache_nor_model() -> None:
    claims = job(
        model={"volume": {"claimName": "models", "path": "x.nemo"}},
        workers={
            "cache": {"claimName": "cache"},
            "scratch": {"sizeLimit": "3Gi", "volume": {"persistentVolumeClaim": {"claimName": "scratch"}}},
        },
    )
    plan = build_plan_job(claims, CONFIG)
    assert pod(plan)["volumes"] == [{"name": "scratch", "emptyDir": {"sizeLimit": "3Gi"}}]
    work = build_work_job(claims, CONFIG)
    assert volume(work, "scratch") == {"persistentVolumeClaim": {"claimName": "scratch"}}
    assert volume(work, "cache") == {"persistentVolumeClaim": {"claimName": "cache"}}
    assert volume(work, "model") == {"persistentVolumeClaim": {"claimName": "models", "readOnly": True}}


def test_scratch_in_memory_is_the_workers_alone() -> None:
    built = job(workers={"scratch": {"medium": "Memory", "sizeLimit": "8Gi"}})
    assert volume(build_work_job(built, CONFIG), "scratch") == {"emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}}
    assert volume(build_plan_job(built, CONFIG), "scratch") == {"emptyDir": {"sizeLimit": "8Gi"}}


def test_bundle_that_is_a_file_of_the_image_is_mounted_from_nowhere() -> None:
    built = build_plan_job(job(storage={"caBundle": {"path": "/etc/ssl/company.pem"}}), CONFIG)
    assert [mounted["name"] for mounted in pod(built)["volumes"]] == ["scratch"]
    assert "AWS_CA_BUNDLE" not in {variable["name"] for variable in pod(built)["containers"][0]["env"]}


def test_guaranteed_worker_stays_guaranteed_with_its_sweep() -> None:
    amounts = {"cpu": 4, "memory": "16Gi", "rdma/hca": 1}
    work = pod(build_work_job(job(workers={"resources": {"requests": amounts, "limits": amounts}}), CONFIG))
    (sweep,) = work["initContainers"]
    assert sweep["resources"] == {"requests": {"cpu": 4, "memory": "16Gi"}, "limits": {"cpu": 4, "memory": "16Gi"}}


def test_pull_secrets_of_both_sides_stand_once() -> None:
    built = build_plan_job(job(template={"imagePullSecrets": [{"name": "mine"}, {"name": "registry"}]}), CONFIG)
    assert pod(built)["imagePullSecrets"] == [{"name": "registry"}, {"name": "mine"}]


def test_security_context_of_the_template_replaces_single_fields() -> None:
    context = pod(build_work_job(job(template={"securityContext": {"runAsUser": 1000}}), CONFIG))["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"], context["runAsNonRoot"]) == (1000, 65532, True)


def test_image_of_the_job_wins_over_the_operators() -> None:
    built = pod(build_work_job(job(workers={"image": "example.com/mine:1"}), CONFIG))
    assert {container["image"] for container in built["initContainers"] + built["containers"]} == {"example.com/mine:1"}


def test_spec_that_no_environment_holds_is_refused_with_what_to_shorten() -> None:
    globs = [f"{'録' * 500}{number:03}.wav" for number in range(64)]
    huge = job(input={"uri": "s3://calls/", "include": globs, "exclude": globs})
    with pytest.raises(ManifestTooLargeError, match=r"shorten spec\.input\.include and exclude"):
        build_plan_job(huge, CONFIG)


def test_template_may_be_larger_than_an_environment_variable() -> None:
    template = {"env": [{"name": f"V{number}", "value": "x" * 30_000} for number in range(10)]}
    assert len(json.dumps(build_work_job(job(template=template), CONFIG))) > 300_000


def test_job_that_no_api_server_made_is_refused() -> None:
    stray = job().model_copy(update={"metadata": job().metadata.model_copy(update={"uid": None})})
    with pytest.raises(ValueError, match="has no uid"):
        build_plan_job(stray, CONFIG)


def test_shared_scratch_is_nobodys_home() -> None:
    """Libraries make directories in HOME, and nothing but the next sweep would remove them from a shared scratch."""

    def home(container: dict[str, Any]) -> str:
        (found,) = [variable["value"] for variable in container["env"] if variable["name"] == "HOME"]
        return str(found)

    shared = job(workers={"scratch": {"volume": {"hostPath": {"path": "/mnt/nvme"}}}})
    work, plan = pod(build_work_job(shared, CONFIG)), pod(build_plan_job(shared, CONFIG))
    assert [home(container) for container in work["initContainers"] + work["containers"]] == ["/cache", "/cache"]
    assert home(plan["containers"][0]) == "/scratch"
    assert pod(build_plan_job(shared, CONFIG))["volumes"][0].keys() == {"name", "emptyDir"}
