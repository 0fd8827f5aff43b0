"""What is wrong with a manifest, told all at once: where, what, and what to write instead."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from transcription_api.load import Fault, ManifestError, load_manifest, validate_manifest

GOOD: dict[str, Any] = {
    "apiVersion": "transcription-operator.io/v1alpha1",
    "kind": "TranscriptionJob",
    "metadata": {"name": "calls"},
    "spec": {
        "input": {"uri": "s3://calls/2026/"},
        "output": {"uri": "s3://transcripts/"},
        "model": {"name": "nvidia/parakeet-tdt-0.6b-v3"},
    },
}
REMOVED = object()


def manifest(path: str = "", value: Any = None, template: dict[str, Any] = GOOD) -> str:
    """The good manifest with one field replaced (dots separate its parts) or removed."""
    data = copy.deepcopy(template)
    if path:
        *parents, last = path.split(".")
        block = data
        for parent in parents:
            block = block.setdefault(parent, {})
        if value is REMOVED:
            del block[last]
        else:
            block[last] = value
    return yaml.safe_dump(data, sort_keys=False)


def faults(text: str, *, local: bool = False) -> list[Fault]:
    found = validate_manifest(text, local)
    for fault in found:
        assert fault.message and fault.mend, fault
        assert "pydantic" not in str(fault) and "Input should" not in str(fault), fault
    return found


TEMPLATE = "spec.workers.template.spec"
BAD: list[tuple[str, Any, str, str]] = [
    # field, value, field of the fault, part of the advice
    (
        "apiVersion",
        "transcription-operator.io/v1",
        "apiVersion",
        "write apiVersion: transcription-operator.io/v1alpha1",
    ),
    ("apiVersion", REMOVED, "apiVersion", "write apiVersion: transcription-operator.io/v1alpha1"),
    ("kind", "TranscriptionJobs", "kind", "write kind: TranscriptionJob"),
    ("kind", REMOVED, "kind", "write kind: TranscriptionJob"),
    ("metadata", REMOVED, "metadata", "write metadata: {name: calls-2026-11}"),
    ("metadata.name", REMOVED, "metadata.name", "write name: calls-2026-11"),
    ("metadata.name", "Calls", "metadata.name", "at most 47 lower-case letters"),
    ("metadata.name", "a" * 48, "metadata.name", "at most 47 lower-case letters"),
    ("metadata.name", "1a", "metadata.name", "a letter first"),
    ("metadata.name", "a-", "metadata.name", "no hyphen last"),
    ("metadata.name", 7, "metadata.name", 'write it in quotes: name: "7"'),
    ("metadata.lables", {}, "metadata.lables", "write labels"),
    ("metadata.labels", {"example.com/team": True}, 'metadata.labels["example.com/team"]', 'example.com/team: "true"'),
    (
        "spec.workers.template.spec.env",
        [{"name": "TRANSCRIPTION_JOB", "value": "x"}],
        "spec.workers.template.spec.env[0].name",
        "set by other fields",
    ),
    ("spec", REMOVED, "spec", "write spec: {input: {uri: 's3://calls/2026/11/'}"),
    ("spec", "none", "spec", "write spec: {input:"),
    ("spec", None, "spec", "write a value, or remove the line"),
    ("spec.inputs", {}, "spec.inputs", "write input"),
    ("spec.replicas", 4, "spec.replicas", "move it to spec.workers.replicas"),
    ("spec.colour", "red", "spec.colour", "remove it; the fields here are input, output, storage"),
    ("spec.input", REMOVED, "spec.input", "write input: {uri: 's3://calls/2026/11/'}"),
    ("spec.input", {}, "spec.input", "write either uri (a prefix) or manifest"),
    ("spec.input.manifest", "s3://calls/list.jsonl", "spec.input", "write either uri (a prefix) or manifest"),
    ("spec.input", {"manifest": "s3://c-1/x", "include": ["a"]}, "spec.input", "write uri instead of manifest"),
    ("spec.input", {"manifest": "s3://calls/"}, "spec.input.manifest", "write the whole key"),
    ("spec.input.uri", "s3:/calls/x", "spec.input.uri", "write s3://calls/x"),
    ("spec.input.uri", "/data/calls", "spec.input.uri", "write s3://bucket/prefix"),
    ("spec.input.uri", "https://x/calls", "spec.input.uri", "storage.endpointUrl"),
    ("spec.input.uri", ["s3://calls/"], "spec.input.uri", "write uri: s3://calls/2026/11/"),
    ("spec.input.include", "*.wav", "spec.input.include", "write include: ['*.wav']"),
    ("spec.input.include", ["a/*", "*.{wav,mp3}"], "spec.input.include[1]", "one glob per alternative"),
    ("spec.input.include", ["a**"], "spec.input.include[0]", "write **/*.wav"),
    ("spec.input.include", ["[z-a]"], "spec.input.include[0]", "write [a-z]"),
    ("spec.input.include", [""], "spec.input.include[0]", "write 1 to 512 characters"),
    ("spec.input.include", ["a"] * 65, "spec.input.include", "write 0 to 64 entries"),
    ("spec.input.exclude", ["/a"], "spec.input.exclude[0]", "remove the slash"),
    ("spec.output", {}, "spec.output.uri", "write uri: s3://transcripts/2026-11/"),
    ("spec.output.formats", [], "spec.output.formats", "write 1 to 5 entries"),
    ("spec.output.formats", ["json", "vttt"], "spec.output.formats[1]", "did you mean vtt"),
    ("spec.output.formats", ["docx"], "spec.output.formats[0]", "write json, txt, srt, vtt or ctm"),
    ("spec.output.overwrite", "ifchanged", "spec.output.overwrite", "did you mean IfChanged"),
    ("spec.output.over_write", "Always", "spec.output.over_write", "write overwrite"),
    ("spec.output.encryption", {"kmsKeyId": "x"}, "spec.output.encryption.type", "write type: aws:kms"),
    (
        "spec.output.encryption",
        {"type": "AES256", "kmsKeyId": "x"},
        "spec.output.encryption.kmsKeyId",
        "write type: aws:kms, or remove kmsKeyId",
    ),
    ("spec.storage.endpointUrl", "minio:9000", "spec.storage.endpointUrl", "endpointUrl: https://s3.example.com"),
    ("spec.storage.endpointUrl", "http://me:secret@minio", "spec.storage.endpointUrl", "https://s3.example.com"),
    ("spec.storage.endpoint_url", "http://x", "spec.storage.endpoint_url", "write endpointUrl"),
    ("spec.storage.credentialsSecret", "keys", "spec.storage.credentialsSecret", "{name: s3-credentials}"),
    ("spec.storage.credentialsSecret.name", "My_Keys", "spec.storage.credentialsSecret.name", "name: s3-credentials"),
    ("spec.storage.caBundle", {}, "spec.storage.caBundle", "either configMapName with key, or path"),
    ("spec.storage.caBundle", {"configMapName": "ca"}, "spec.storage.caBundle", "configMapName with key"),
    ("spec.storage.caBundle", {"path": "/a", "key": "b"}, "spec.storage.caBundle", "or path"),
    ("spec.model", {}, "spec.model", "write one of name"),
    ("spec.model.uri", "s3://models/x.nemo", "spec.model", "write one of name"),
    ("spec.model", {"volume": {"claimName": "m", "path": "/x.nemo"}}, "spec.model.volume.path", "parakeet/model.nemo"),
    ("spec.model.sha256", "ABC", "spec.model.sha256", "write it like sha256: 9f86"),
    ("spec.transcription.timestamps", "words", "spec.transcription.timestamps", "did you mean word"),
    ("spec.transcription.channels", "left", "spec.transcription.channels", "write mix, each, or a channel number"),
    ("spec.transcription.channels", -1, "spec.transcription.channels", "write mix, each, or a channel number"),
    ("spec.transcription.channels", True, "spec.transcription.channels", "write mix, each, or a channel number"),
    ("spec.transcription.maxSegmentSeconds", 4.9, "spec.transcription.maxSegmentSeconds", "a number from 5 to 1200"),
    ("spec.transcription.maxSegmentSeconds", 1201, "spec.transcription.maxSegmentSeconds", "a number from 5 to 1200"),
    ("spec.transcription.batchSeconds", 0, "spec.transcription.batchSeconds", "write auto, or whole seconds"),
    ("spec.transcription.batchSeconds", "all", "spec.transcription.batchSeconds", "write auto, or whole seconds"),
    ("spec.transcription.language", False, "spec.transcription.language", 'write it in quotes: language: "false"'),
    ("spec.transcription.language", "english please", "spec.transcription.language", "write it like language: en-US"),
    ("spec.transcription.confidence", "yes", "spec.transcription.confidence", "write true or false, without quotes"),
    ("spec.transcription.decoder", "tdt", "spec.transcription.decoder", "write ctc or rnnt"),
    ("spec.workers.replicas", "4", "spec.workers.replicas", "write it without quotes: replicas: 4"),
    ("spec.workers.replicas", 0, "spec.workers.replicas", "a number from 1 to 10000"),
    ("spec.workers.replicas", 1.5, "spec.workers.replicas", "write replicas: 4"),
    ("spec.workers.gpus", 17, "spec.workers.gpus", "a number from 0 to 16"),
    ("spec.workers.resources", {"limits": {"cpu": 0.5}}, "spec.workers.resources.limits.cpu", 'write "0.5"'),
    ("spec.workers.resources", {"limits": {"nvidia.com/gpu": 1}}, "spec.workers.resources", "write workers.gpus"),
    ("spec.workers.scratch.sizeLimit", "20GiB", "spec.workers.scratch.sizeLimit", "such as 20Gi"),
    ("spec.workers.scratch.sizeLimit", [], "spec.workers.scratch.sizeLimit", "such as 20Gi"),
    ("spec.workers.scratch", {"volume": {}}, "spec.workers.scratch.volume", "write either hostPath or"),
    (
        "spec.workers.scratch",
        {"medium": "Memory", "volume": {"hostPath": {"path": "/mnt"}}},
        "spec.workers.scratch.medium",
        "remove medium, or remove volume",
    ),
    ("spec.workers.cache", None, "spec.workers.cache", "write a value, or remove the line"),
    (f"{TEMPLATE}.nodeSelector", {"gpu": "x" * 64}, f"{TEMPLATE}.nodeSelector.gpu", "write 0 to 63 characters"),
    (f"{TEMPLATE}.nodeselector", {}, f"{TEMPLATE}.nodeselector", "write nodeSelector"),
    (f"{TEMPLATE}.hostNetwork", True, f"{TEMPLATE}.hostNetwork", "remove it; the fields here are nodeSelector"),
    (f"{TEMPLATE}.tolerations", [{"effect": "NoWay"}], f"{TEMPLATE}.tolerations[0].effect", "NoSchedule"),
    (f"{TEMPLATE}.env", [{"name": "1A"}], f"{TEMPLATE}.env[0].name", "write it like name: HF_ENDPOINT"),
    (f"{TEMPLATE}.volumes", [{"name": "a"}], f"{TEMPLATE}.volumes[0]", "write one of configMap, csi"),
    ("spec.failurePolicy.maxFailedRecordings", "101%", "spec.failurePolicy.maxFailedRecordings", '"0%" to "100%"'),
    ("spec.failurePolicy.maxFailedRecordings", 0.1, "spec.failurePolicy.maxFailedRecordings", '"0%" to "100%"'),
    ("spec.failurePolicy.attemptsPerRecording", 21, "spec.failurePolicy.attemptsPerRecording", "from 1 to 20"),
    ("spec.activeDeadlineSeconds", 0, "spec.activeDeadlineSeconds", "a number from 1 to"),
    ("spec.suspend", 1, "spec.suspend", "write true or false"),
]


@pytest.mark.parametrize(("path", "value", "at", "advice"), BAD, ids=[f"{p}={v!r}"[:70] for p, v, _, _ in BAD])
def test_fault_names_the_field_and_the_way_out(path: str, value: Any, at: str, advice: str) -> None:
    (fault,) = faults(manifest(path, value))
    assert fault.path == at
    assert advice in fault.mend
    assert str(fault) == f"{fault.path}: {fault.message}; {fault.mend}"


BLOCKS = ("input", "output", "output.formats", "storage", "model", "transcription", "workers", "failurePolicy")


@pytest.mark.parametrize("value", [REMOVED, None, "text", 7, [], [7], {}, {"colour": "red"}], ids=repr)
@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_that_is_missing_or_of_another_kind_gets_sentences(block: str, value: Any) -> None:
    """Also where a rule looks from one block into another."""
    template = copy.deepcopy(GOOD)
    for name in BLOCKS:
        *parents, last = f"spec.{name}".split(".")
        place = template
        for parent in parents:
            place = place[parent]
        place.setdefault(last, ["ctm"] if last == "formats" else {})
    found = faults(manifest(f"spec.{block}", value, template))
    assert all(fault.path.startswith(f"spec.{block}") or fault.path == "spec.output.formats" for fault in found)
    if value not in (REMOVED, {}) or block in ("input", "output", "model"):
        assert found


def test_good_manifest_has_no_fault() -> None:
    assert faults(manifest()) == []


def test_ctm_without_word_times_is_a_fault() -> None:
    template = yaml.safe_load(manifest("spec.output.formats", ["json", "ctm"]))
    assert faults(manifest(template=template)) == []
    (fault,) = faults(manifest("spec.transcription.timestamps", "segment", template))
    assert fault.path == "spec.output.formats"


def test_every_fault_is_found_at_once_in_the_order_of_the_text() -> None:
    text = """\
apiVersion: transcription-operator.io/v1alpha1
kind: TranscriptionJob
metadata:
  name: Not_A_Name
spec:
  input:
    uri: s3:/calls
    manifest: s3://calls/list.jsonl
    include: ["/a", "b"]
  output:
    format: srt
  model: {}
  transcription:
    language: no
"""
    found = faults(text)
    assert [(fault.line, fault.path) for fault in found] == [
        (4, "metadata.name"),
        (6, "spec.input"),
        (7, "spec.input.uri"),
        (9, "spec.input.include[0]"),
        (10, "spec.output.uri"),
        (11, "spec.output.format"),
        (12, "spec.model"),
        (14, "spec.transcription.language"),
    ]
    assert found[-1].mend == 'write it in quotes: language: "no"'
    with pytest.raises(ManifestError) as caught:
        load_manifest(text, local=False)
    assert caught.value.faults == found
    assert str(caught.value).count("\n") == len(found) - 1


def test_manifest_of_another_kind_is_one_fault_only() -> None:
    text = "apiVersion: transcription-operator.io/v1alpha1\nkind: Deployment\nspec: {replicas: x}\n"
    assert [fault.path for fault in faults(text)] == ["kind"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.input.uri", "/data/calls"),
        ("spec.output.uri", "file:///data/out"),
        ("spec.model", {"uri": "models/x.nemo"}),
        ("spec.input", {"manifest": "./list.jsonl"}),
    ],
)
def test_paths_are_for_local_mode_only(path: str, value: Any) -> None:
    assert faults(manifest(path, value), local=True) == []
    (fault,) = faults(manifest(path, value), local=False)
    assert "paths work with `transcription run` only" in fault.mend


def test_status_of_a_job_read_back_from_the_cluster_is_accepted() -> None:
    assert faults(manifest("status.phase", "Running")) == []
