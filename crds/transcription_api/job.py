"""A TranscriptionJob: metadata, spec and status in one, and the options of a transcription.

Input, output, store and model stand in `places.py`, pods in `workers.py`, the status in `status.py`; the spec's
classes can be imported from here. Field descriptions are the reference: the CRD and docs/transcriptionjob.md are
generated from them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from transcription_api.base import ApiModel, Rule
from transcription_api.places import (
    CaBundle,
    Encryption,
    Format,
    Input,
    ModelSource,
    ModelVolume,
    Output,
    SecretReference,
    Storage,
)
from transcription_api.status import TranscriptionJobStatus
from transcription_api.types import BatchSeconds, Channels, CountOrPercent, JobName
from transcription_api.workers import Workers

MAX_SEGMENT_SECONDS = 30.0
"""Published models were trained on utterances of up to 20 or 40 s, and longer segments lose no fewer words
(docs/long-recordings.md)."""

__all__ = [
    "CaBundle",
    "Encryption",
    "FailurePolicy",
    "Format",
    "Input",
    "Metadata",
    "ModelSource",
    "ModelVolume",
    "Output",
    "SecretReference",
    "Storage",
    "TranscriptionJob",
    "TranscriptionJobSpec",
    "TranscriptionOptions",
    "Workers",
    "options_digest",
]


class TranscriptionOptions(ApiModel):
    """What is made of a recording."""

    timestamps: Literal["word", "segment", "none"] = Field(
        "word", description="Finest times in the transcript; `ctm` needs `word`."
    )
    channels: Channels = Field(
        "mix",
        description="`mix` averages all channels, `each` transcribes every channel for itself, a number takes that "
        "channel alone (0-based).",
        examples=["each"],
    )
    max_segment_seconds: float = Field(
        MAX_SEGMENT_SECONDS,
        ge=5,
        le=1200,
        description="Longest stretch of audio that goes through the model at once, in seconds.",
        examples=[30],
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Numbers that the model computes in; `auto` is `bfloat16` where the GPU has it."
    )
    batch_seconds: BatchSeconds = Field(
        "auto",
        description=(
            "Seconds of audio per batch, padding included; `auto` grows while batches are quick, and shrinks to what "
            "the device's memory holds. Speed only."
        ),
        examples=["auto"],
    )
    max_recording_seconds: int = Field(
        43_200,
        ge=1,
        le=604_800,
        description="Longer recordings fail with reason TooLong, in seconds of audio.",
        examples=[43200],
    )
    language: str | None = Field(
        None,
        max_length=35,
        pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$",
        description="Language of the recordings (BCP 47) for the transcript and for models that take one.",
        examples=["en-US"],
    )
    confidence: bool = Field(True, description="Whether words and segments carry a confidence from 0 to 1.")
    decoder: Literal["ctc", "rnnt"] | None = Field(
        None, description="Which decoder of a hybrid model to use; without it the model's own default."
    )
    attention: Literal["full", "local"] | None = Field(
        None,
        description="How far each moment of a Conformer hears: `full` is the whole segment, `local` 128 encoder frames "
        "(10 s) to each side, so that memory grows with `maxSegmentSeconds` and not with its square. Without it as the "
        "model was trained.",
    )


class FailurePolicy(ApiModel):
    """How much may go wrong before the job as a whole has failed."""

    max_failed_recordings: CountOrPercent = Field(
        "10%",
        description='Recordings that may fail in a job that is still Complete: a count, or `"10%"` of the plan.',
        examples=["10%"],
    )
    attempts_per_recording: int = Field(
        3, ge=1, le=20, description="Attempts at one recording before it is recorded as failed.", examples=[3]
    )
    attempts_per_worker: int = Field(
        4, ge=1, le=100, description="Pods that one worker index may use up before it is given up.", examples=[4]
    )

    def allows(self, failed: int, total: int) -> bool:
        """Whether `failed` of `total` recordings stay within the limit."""
        limit = self.max_failed_recordings
        if isinstance(limit, int):
            return failed <= limit
        return failed * 100 <= int(limit.removesuffix("%")) * total


class TranscriptionJobSpec(ApiModel):
    """What to transcribe, with what, and where to put it.

    Only `suspend`, `workers.replicas` and `ttlSecondsAfterFinished` may change after creation.
    """

    rules: ClassVar = (
        Rule(
            "!('ctm' in self.output.formats) || self.transcription.timestamps == 'word'",
            lambda s: "ctm" not in s.output.formats or s.transcription.timestamps == "word",
            "ctm is a list of words with their times",
            "write transcription.timestamps: word, or leave ctm out",
            at="output.formats",
        ),
    )

    input: Input = Field(description="Where the recordings are.")
    output: Output = Field(description="Where the transcripts go.")
    storage: Storage = Field(Storage(), description="How the object store is reached.")
    model: ModelSource = Field(description="Which model transcribes.")
    transcription: TranscriptionOptions = Field(TranscriptionOptions(), description="What is made of a recording.")
    workers: Workers = Field(Workers(), description="The pods that do the work.")
    failure_policy: FailurePolicy = Field(FailurePolicy(), description="How much may go wrong.")
    active_deadline_seconds: int | None = Field(
        None,
        ge=1,
        le=31_536_000,
        description="Seconds after which the job is stopped and failed; without it there is no deadline.",
        examples=[86400],
    )
    ttl_seconds_after_finished: int | None = Field(
        None,
        ge=0,
        le=31_536_000,
        description="Seconds after the end at which the object (never a transcript) is deleted; without it, it stays.",
        examples=[86400],
    )
    suspend: bool = Field(False, description="Stops the workers, after what is in flight, until it is false again.")


class Metadata(ApiModel):
    """The standard object metadata (Kubernetes API conventions); what only the API server writes is carried along."""

    name: JobName = Field(examples=["calls-2026-11"])
    namespace: str | None = None
    generate_name: str | None = None
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    uid: str | None = None
    generation: int | None = None
    resource_version: str | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[Any, ...] = ()
    managed_fields: tuple[Any, ...] = ()
    self_link: str | None = None


class TranscriptionJob(ApiModel):
    """Transcribes the recordings of an S3 bucket with NVIDIA NeMo."""

    api_version: Literal["transcription-operator.io/v1alpha1"] = "transcription-operator.io/v1alpha1"
    kind: Literal["TranscriptionJob"] = "TranscriptionJob"
    metadata: Metadata
    spec: TranscriptionJobSpec
    status: TranscriptionJobStatus | None = None

    def to_manifest(self) -> dict[str, Any]:
        """The object as JSON-ready data with the manifest's field names, absent values left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


_SHAPING_OPTIONS = {
    "timestamps",
    "channels",
    "max_segment_seconds",
    "precision",
    "language",
    "confidence",
    "decoder",
    "attention",
}


def options_digest(options: TranscriptionOptions) -> str:
    """16 hex digits over the options that change a transcript, so not over batch size and length limit."""
    shaping = options.model_dump(mode="json", by_alias=True, exclude_none=True, include=_SHAPING_OPTIONS)
    canonical = json.dumps(shaping, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
