"""The Jobs of several TranscriptionJobs, whole, as they go to the API server: golden/<case>/{plan,work,report}.yaml.

After a wanted change: `UPDATE_GOLDEN=1 pytest tests/unit/operator/builders`, then read the diff.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from transcription_api.job import TranscriptionJob
from transcription_api.load import load_manifest
from transcription_operator.builders import build_plan_job, build_report_job, build_work_job
from transcription_operator.config import Config

GOLDEN = Path(__file__).parent / "golden"
CASES = ("minimal", "everything", "kueue", "hostpath-scratch", "claim-cache", "cpu-only")
BUILDERS: dict[str, Callable[[TranscriptionJob, Config], dict[str, Any]]] = {
    "plan": build_plan_job,
    "work": build_work_job,
    "report": build_report_job,
}
IMAGE = "example.com/transcription-worker:0.1.0"
DEFAULTS = Config(worker_image=IMAGE)
EVERY_SETTING = Config(
    worker_image=IMAGE,
    image_pull_policy="IfNotPresent",
    image_pull_secrets=("registry",),
    grace_seconds=600,
    control_resources={"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
    gpu_hour_price=2.49,
    currency="EUR",
)


class _Plain(yaml.SafeDumper):
    """Values that stand twice are written twice: no anchors in a diff."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def golden_text(case: str, kind: str) -> str:
    config = EVERY_SETTING if case == "everything" else DEFAULTS
    built = BUILDERS[kind](load_manifest(GOLDEN / case / "job.yaml", local=False), config)
    return yaml.dump(built, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)


@pytest.mark.parametrize("kind", BUILDERS)
@pytest.mark.parametrize("case", CASES)
def test_job_is_what_the_golden_file_says(case: str, kind: str) -> None:
    file = GOLDEN / case / f"{kind}.yaml"
    text = golden_text(case, kind)
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text)
    assert file.read_text() == text


def test_every_golden_folder_is_a_case() -> None:
    assert {folder.name for folder in GOLDEN.iterdir()} == set(CASES)


def test_golden_job_everything_leaves_no_field_of_the_spec_at_its_default() -> None:
    """A field added to the API later has to be given to the builders' largest case too."""
    spec = load_manifest(GOLDEN / "everything" / "job.yaml", local=False).spec
    alternatives = {"spec.input.manifest", "spec.storage.ca_bundle.path", "spec.model.uri", "spec.model.volume"}
    # `suspend` is in the Kueue and hostPath cases, the volume and medium of scratch in theirs.
    elsewhere = {"spec.suspend", "spec.workers.scratch.volume", "spec.workers.scratch.medium"}
    assert set(_unset(spec, "spec")) <= alternatives | elsewhere


def _unset(model: Any, path: str) -> list[str]:
    found: list[str] = []
    for name in type(model).model_fields:
        value = getattr(model, name)
        if name not in model.model_fields_set:
            found.append(f"{path}.{name}")
        elif hasattr(value, "model_fields_set"):
            found += _unset(value, f"{path}.{name}")
    return found
