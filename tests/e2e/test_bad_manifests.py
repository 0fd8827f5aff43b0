"""Faulty manifests end in a sentence that says what to change, and in nothing else.

`bad/` has one manifest per class of fault. Its first line says how it must end (`Refused` by the API server, `Failed`,
or `Waits` until what is missing is there) and, after a reason where there is one, words that the sentence must have.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.operating import Jobs, install_crd, operator, running
from tests.jobs import EXAMPLES, TINY_CTC
from tests.s3server import S3Server, add_user
from tests.unit.test_api_manifest_faults import BAD, manifest
from transcription_api.load import validate_manifest

pytestmark = [pytest.mark.cluster, pytest.mark.s3]

FOLDER = Path(__file__).parent / "bad"
HEAD = re.compile(r"# (Refused|Refused after \S+|Waits|Failed|Complete): (?:(\w+): )?(.+)\n")
BEFORE_ANY_WORKER = ("wrong-secret-key", "no-such-bucket", "no-such-output-bucket", "denied-output", "nothing-matches")
"""What the plan finds out, so that no worker's Job is ever made."""
UNSEEN = {
    ("spec.input.include", "['[z-a]']"): "a regular expression cannot tell the order of a range",
    ("spec.workers.cache", "None"): "the API server drops a null, so the field is absent, which is no fault",
}
"""What the models refuse and the API server's rules cannot see; the operator says the first, the second is harmless."""


@dataclass(frozen=True)
class Faulty:
    """One file of the folder."""

    path: Path
    end: str
    reason: str
    words: str

    @property
    def name(self) -> str:
        return str(self.document["metadata"]["name"])

    @property
    def document(self) -> dict[str, Any]:
        return dict(yaml.safe_load(self.path.read_text()))


def files(*ends: str) -> list[Faulty]:
    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        head = HEAD.match(path.read_text())
        assert head, f"{path} does not say how it ends"
        refused = head[1].startswith("Refused")
        words = head[3] if not refused or head[2] is None else f"{head[2]}: {head[3]}"
        found.append(Faulty(path, head[1], head[2] or "", words))
    return [one for one in found if one.end in ends]


def answers(cluster: Cluster, namespace: str, texts: dict[str, str], folder: Path) -> dict[str, str]:
    """What kubectl says to each manifest that is not taken, by its name; nothing is made."""
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    done = cluster.kubectl(
        "create", "--dry-run=server", f"--namespace={namespace}", f"--filename={folder}", check=False
    )
    found: dict[str, str] = {}
    for part in re.split(r"(?=error when creating|error validating \"|unable to decode|resource mapping)", done.stderr):
        if match := re.search(r'"[^"]*/([^/"]+)\.yaml"', part):
            found[match[1]] = part
    return found


def test_api_server_refuses_what_the_models_refuse(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    install_crd(cluster)
    cases = {f"case-{n:03d}": row for n, row in enumerate(BAD)}
    said = answers(
        cluster, namespace, {name: manifest(path, value) for name, (path, value, *_) in cases.items()}, tmp_path
    )
    taken = {(path, str(value)) for name, (path, value, *_) in cases.items() if name not in said}
    assert taken == set(UNSEEN)
    for name, (path, value, at, _) in cases.items():
        if name in said:
            named = (path.rpartition(".")[2], re.split(r"[.\[]", at)[-1], str(value))
            assert any(one in said[name] for one in named), (path, value, said[name])


def test_refused_manifests_are_answered_with_what_to_write(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    install_crd(cluster)
    faults = files("Refused")
    texts = {faulty.path.stem: faulty.path.read_text() for faulty in faults}
    said = answers(cluster, namespace, texts, tmp_path)
    assert {
        one.path.stem: said.get(one.path.stem) for one in faults if one.words not in said.get(one.path.stem, "")
    } == {}
    unnoticed = [name for name, text in texts.items() if not validate_manifest(text, False)]
    assert unnoticed == [], "`transcription validate` finds no fault in them"


@pytest.fixture
def world(cluster: Cluster, namespace: str, s3: S3Server) -> Jobs:
    """The buckets, users and Secrets that the manifests of the folder speak of."""
    client = s3.client()
    for bucket in {"calls", "transcripts", "models"} - {one["Name"] for one in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=bucket)
    client.put_object(Bucket="calls", Key="empty.wav", Body=b"")
    audio = (EXAMPLES / "audio/sound-check.wav").read_bytes()
    client.put_object(Bucket="calls", Key="sound-check.wav", Body=audio)
    client.put_object(Bucket="calls", Key="list-of-noise.jsonl", Body=audio)
    client.put_object(Bucket="models", Key="tiny.nemo", Body=TINY_CTC.read_bytes())
    client.put_object(Bucket="models", Key="audio.nemo", Body=audio)
    add_user(s3, "reader", "reader-secret")
    for bucket, actions in (("calls", ["s3:GetObject", "s3:ListBucket"]), ("transcripts", ["s3:ListBucket"])):
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"AWS": ["reader"]},
                    "Action": actions,
                    "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
                }
            ],
        }
        client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    install_crd(cluster)
    jobs = Jobs(cluster, namespace, s3)
    jobs.secret()
    jobs.secret("wrong-key", secret_key="wrong")
    Jobs(cluster, namespace, replace(s3, access_key="reader", secret_key="reader-secret")).secret("reader")
    other = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other-keys"}, "stringData": {"user": "x"}}
    cluster.apply(other, namespace=namespace)
    return jobs


def completed(base: dict[str, Any], faulty: Faulty) -> dict[str, Any]:
    """The manifest with what this cluster needs beside it: the store's address, and the worker's environment."""
    document, standard = faulty.document, base["spec"]
    spec = document["spec"]
    workers = spec.get("workers", {})
    template, added = workers.get("template", {}).get("spec", {}), standard["workers"]["template"]["spec"]
    template = {**template, **{name: [*template.get(name, ()), *added[name]] for name in added}}
    scratch = {**standard["workers"]["scratch"], **workers.get("scratch", {})}
    spec["storage"] = {**standard["storage"], **spec.get("storage", {})}
    spec["workers"] = {**standard["workers"], **workers, "scratch": scratch, "template": {"spec": template}}
    return document


def test_fault_that_only_pods_see_becomes_a_condition_and_an_event(world: Jobs, tmp_path: Path) -> None:
    jobs, faults = world, files("Failed", "Waits")
    (healthy,), (change,) = files("Complete"), files("Refused after healthy.yaml")
    base = jobs.manifest("base", source="s3://calls/", output="s3://transcripts/", model="s3://models/tiny.nemo")
    place = (f"--namespace={jobs.namespace}", "--filename=-")

    def wrong() -> dict[str, dict[str, Any]]:
        """Those that do not say yet what they must say."""
        listed = json.loads(jobs.cluster.kubectl("get", "tj", f"--namespace={jobs.namespace}", "--output=json").stdout)
        found = {item["metadata"]["name"]: item.get("status", {}).get("conditions", ()) for item in listed["items"]}
        said = {}
        for one in (*faults, healthy):
            kind = "Failed" if one.end == "Failed" else "Complete"
            condition: dict[str, Any] = next((c for c in found.get(one.name, ()) if c["type"] == kind), {})
            if condition.get("reason") != one.reason or one.words not in condition["message"]:
                said[one.name] = condition
        return said

    with running(operator(jobs.cluster, tmp_path, jobs.namespace)) as one:
        jobs.cluster.apply(*(completed(base, faulty) for faulty in (*faults, healthy)), namespace=jobs.namespace)
        again = jobs.cluster.kubectl("apply", *place, input=json.dumps(completed(base, change)), check=False)
        assert change.words in again.stderr
        try:
            wait_for(lambda: not wrong(), 180, "every sentence")
        except TimeoutError:
            assert wrong() == {}
        told = {faulty.name: {reason for reason, _ in jobs.events(faulty.name)} for faulty in faults}
        assert {faulty.name for faulty in faults if faulty.reason not in told[faulty.name]} == set()
        for faulty in files("Failed"):
            assert all(len(jobs.pods(faulty.name, part)) <= 1 for part in ("plan", "work")), "a second attempt was made"
        for name in BEFORE_ANY_WORKER:
            assert jobs.cluster.get("job", f"{name}-work", jobs.namespace) is None
        (pod,) = jobs.pods("no-such-model", "work")
        assert pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 78
        assert not pod["status"]["containerStatuses"][0]["started"]
        assert "terminated" not in pod["status"]["containerStatuses"][0]["state"], "a GPU would have waited for nothing"
        assert [line for line in one.lines if "Traceback" in line or "ERROR" in line] == []
