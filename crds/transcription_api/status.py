"""The status of a job: what its operator last saw. Written by the operator alone, never read back to decide."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from transcription_api.base import ApiModel
from transcription_api.conditions import Condition
from transcription_api.names import Phase

MAX_FAILURES = 10
"""So many failures stand in the status; all of them are in the report."""


class StatusModel(ApiModel):
    """A status may come from a later release: fields that are not known here are ignored."""

    model_config = ConfigDict(extra="ignore")


class PlanStatus(StatusModel):
    """What the plan holds."""

    recordings: int = Field(ge=0, description="Recordings to transcribe.", examples=[1000])
    ignored: int = Field(0, ge=0, description="Objects below the input that are no recordings or were left out.")
    bytes: int = Field(0, ge=0, description="Size of all recordings, in bytes.")
    shards: int = Field(0, ge=0, description="Shards that the recordings are cut into.")
    conditional_writes: bool = Field(
        True, description="Whether the store honours If-None-Match and If-Match; else the split by worker is fixed."
    )
    uri: str | None = Field(None, max_length=2048, description="Where the plan lies.")


class ProgressStatus(StatusModel):
    """How far the job is; a recording counts once, whoever worked on it."""

    summary: str = Field(
        "", max_length=64, description="Settled and planned recordings, such as `812/1000`.", examples=["812/1000"]
    )
    done: int = Field(0, ge=0, description="Recordings transcribed by this job.")
    skipped: int = Field(0, ge=0, description="Recordings that had a current transcript.")
    failed: int = Field(0, ge=0, description="Recordings without a transcript, for good.")
    audio_seconds: float = Field(0.0, ge=0, description="Audio transcribed by this job, in seconds.")
    speed: float | None = Field(None, ge=0, description="Seconds of audio per second, over the last minutes.")
    eta_seconds: int | None = Field(None, ge=0, description="Seconds until the last recording is settled, estimated.")
    eta: str = Field("", max_length=32, description="The same for people, such as `1h20m`.", examples=["1h20m"])


class WorkersStatus(StatusModel):
    """The pods of the work Job."""

    desired: int = Field(0, ge=0, description="Workers that the spec asks for.")
    active: int = Field(0, ge=0, description="Pods that run or are about to.")
    ready: int = Field(0, ge=0, description="Pods whose model is loaded.")
    succeeded: int = Field(0, ge=0, description="Worker indexes that ended well.")
    failed: int = Field(0, ge=0, description="Worker indexes that used up their attempts.")
    summary: str = Field("", max_length=32, description="Ready and desired workers, such as `3/4`.", examples=["3/4"])


class FailureStatus(StatusModel):
    """One recording without a transcript."""

    key: str = Field(max_length=1024, description="Key of the recording below the input.")
    reason: str = Field(max_length=64, description="Why, as one word of a fixed list.", examples=["Truncated"])
    message: str = Field("", max_length=1024, description="Why, as a sentence for people.")


class ReportStatus(StatusModel):
    """Where the report of a finished job lies, and its sums."""

    uri: str = Field(max_length=2048, description="The page, index.html, beside manifest.jsonl and summary.json.")
    done: int = Field(0, ge=0, description="Recordings transcribed by this job.")
    skipped: int = Field(0, ge=0, description="Recordings that had a current transcript.")
    failed: int = Field(0, ge=0, description="Recordings without a transcript.")
    audio_seconds: float = Field(0.0, ge=0, description="Audio transcribed by this job, in seconds.")


class ModelStatus(StatusModel):
    """The model in use."""

    name: str = Field(max_length=2048, description="The name, URI or volume path that the spec gives.")
    digest: str | None = Field(
        None,
        max_length=80,
        description="What the .nemo file is told by, once a worker knows it: its SHA-256, or its ETag in the store.",
    )


class TranscriptionJobStatus(StatusModel):
    """What the operator last saw."""

    observed_generation: int | None = Field(None, ge=0, description="Generation of the spec that this status is about.")
    phase: Phase | None = Field(None, description="A summary for people; machines read `conditions`.")
    conditions: tuple[Condition, ...] = Field(
        (),
        max_length=16,
        description="`Planned`, `Suspended`, `Complete` and `Failed`.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    start_time: str | None = Field(
        None,
        max_length=40,
        description="When the job was first taken up (RFC 3339).",
        json_schema_extra={"format": "date-time"},
    )
    completion_time: str | None = Field(
        None,
        max_length=40,
        description="When the job became Complete or Failed (RFC 3339).",
        json_schema_extra={"format": "date-time"},
    )
    plan: PlanStatus | None = Field(None, description="What the plan holds.")
    progress: ProgressStatus | None = Field(None, description="How far the job is.")
    workers: WorkersStatus | None = Field(None, description="The pods of the work Job.")
    failures: tuple[FailureStatus, ...] = Field(
        (), max_length=MAX_FAILURES, description="The first recordings that failed; all are in the report."
    )
    report: ReportStatus | None = Field(None, description="Where the report lies.")
    model: ModelStatus | None = Field(None, description="The model in use.")
