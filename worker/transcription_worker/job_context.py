"""A job as the worker's entry points see it: the manifest, turned into stores, layout, digests and limits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from transcription_api.job import TranscriptionJob, options_digest
from transcription_worker.errors import ConfigurationError
from transcription_worker.layout import JobLayout
from transcription_worker.store import Store, StoreSettings, open_store

if TYPE_CHECKING:
    from transcription_worker.model_source import ModelSource

MODEL_DIRECTORY_VARIABLE = "TRANSCRIPTION_MODEL_DIR"
MODEL_DIRECTORY = "/model"
"""Where the operator mounts `spec.model.volume`."""


@dataclass(frozen=True)
class JobContext:
    """One TranscriptionJob; nothing is contacted before a store is used."""

    job: TranscriptionJob

    @cached_property
    def layout(self) -> JobLayout:
        uid = self.job.metadata.uid
        if not uid:
            raise ConfigurationError(
                "metadata.uid is missing: apply the job to a cluster, or use `transcription run`, which gives it one."
            )
        return JobLayout(f"{self.job.metadata.name}-{uid[:8]}")

    @cached_property
    def input_uri(self) -> str:
        """The folder that keys are relative to: the input itself, or the manifest's folder."""
        spec = self.job.spec.input
        return _trimmed(spec.uri or _folder(str(spec.manifest)))

    @property
    def manifest_name(self) -> str | None:
        manifest = self.job.spec.input.manifest
        return manifest.rpartition("/")[2] if manifest else None

    @cached_property
    def output_uri(self) -> str:
        return _trimmed(self.job.spec.output.uri)

    @cached_property
    def options_digest(self) -> str:
        return options_digest(self.job.spec.transcription)

    @cached_property
    def settings(self) -> StoreSettings:
        storage, encryption = self.job.spec.storage, self.job.spec.output.encryption
        bundle = storage.ca_bundle.path if storage.ca_bundle else None
        return StoreSettings(
            endpoint_url=storage.endpoint_url,
            region=storage.region,
            addressing_style=storage.addressing_style,
            ca_bundle=Path(bundle) if bundle else None,
            checksums=storage.checksums,
            encryption_type=encryption.type if encryption else None,
            kms_key_id=encryption.kms_key_id if encryption else None,
        )

    @cached_property
    def input_store(self) -> Store:
        return open_store(self.input_uri, self.settings)

    @cached_property
    def output_store(self) -> Store:
        return open_store(self.output_uri, self.settings)

    @cached_property
    def model(self) -> ModelSource:
        from transcription_worker.model_source import ModelRequest, ModelSource

        spec = self.job.spec.model
        path = None
        if spec.volume:
            mount = Path(os.environ.get(MODEL_DIRECTORY_VARIABLE, MODEL_DIRECTORY))
            path = mount / spec.volume.path
        return ModelSource(ModelRequest(name=spec.name, uri=spec.uri, path=path, sha256=spec.sha256), self.settings)

    @property
    def model_label(self) -> str:
        """The model as the user named it."""
        spec = self.job.spec.model
        if spec.volume:
            return f"{spec.volume.claim_name}/{spec.volume.path}"
        return str(spec.name or spec.uri)

    @property
    def local_places(self) -> dict[str, Path]:
        """What of this job lies in directories, by what it is."""
        spec = self.job.spec
        named = {"the input": self.input_uri, "the output": self.output_uri, "the model": spec.model.uri}
        return {
            name: Path(unquote(uri.removeprefix("file://")))
            for name, uri in named.items()
            if uri and "s3://" not in uri
        }


def _folder(uri: str) -> str:
    folder, slash, _ = uri.rpartition("/")
    return folder or slash or "."


def _trimmed(uri: str) -> str:
    return uri.rstrip("/") or "/"
