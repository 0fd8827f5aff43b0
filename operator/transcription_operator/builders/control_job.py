"""What the Jobs of plan and report share: one small CPU pod that runs to its end and is harmless to run again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from transcription_api.job import TranscriptionJob
from transcription_api.names import Component
from transcription_operator import constants
from transcription_operator.builders.batch_job import batch_job
from transcription_operator.builders.environment import Variable, environment
from transcription_operator.builders.placement import control_placement
from transcription_operator.builders.pod import container, pod_template
from transcription_operator.builders.volumes import control_storage
from transcription_operator.config import Config

GRACE_SECONDS = 30
BACKOFF_LIMIT = 3
"""Retries of plan and of report, after 10, 20 and 40 s."""


def control_job(
    job: TranscriptionJob, config: Config, component: Component, own: Iterable[Variable] = ()
) -> dict[str, Any]:
    """The Job of `component`, PLAN or REPORT; `own` are EnvVars of its container alone."""
    storage = control_storage(job)
    main = container(
        job,
        config,
        component.value,
        env=environment(job, home=constants.SCRATCH_PATH, own=own),
        storage=storage,
        resources=config.control_resources,
    )
    template = pod_template(
        job,
        config,
        component,
        containers=[main],
        storage=storage,
        placement=control_placement(job),
        grace_seconds=GRACE_SECONDS,
    )
    return batch_job(
        job,
        component,
        template=template,
        completionMode="NonIndexed",
        completions=1,
        parallelism=1,
        backoffLimit=BACKOFF_LIMIT,
    )
