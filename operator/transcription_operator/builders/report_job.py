"""The report Job: reads the ledgers and writes the report, when no worker is left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transcription_api.job import TranscriptionJob
from transcription_api.names import Component
from transcription_operator import constants
from transcription_operator.builders.control_job import control_job
from transcription_operator.builders.environment import Variable
from transcription_operator.config import Config


def build_report_job(job: TranscriptionJob, config: Config) -> dict[str, Any]:
    """The batch/v1 Job `<name>-report`; its pod leaves its summary as the termination message.

    Raises:
        ManifestTooLargeError: the spec does not fit into a pod's environment.
        ValueError: the job did not come from an API server.
    """
    return control_job(job, config, Component.REPORT, _price(config))


def _price(config: Config) -> Iterator[Variable]:
    if config.gpu_hour_price:
        yield {"name": constants.GPU_PRICE_VARIABLE, "value": f"{config.gpu_hour_price:g}"}
        yield {"name": constants.CURRENCY_VARIABLE, "value": config.currency}
