"""The places of the spec: input, output, the object store behind them, and the model.

What is checked here is form; whether a bucket, a Secret or a model exists shows when the job starts.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from transcription_api.base import ApiModel, Rule
from transcription_api.types import FolderUri, Glob, ObjectName, ObjectUri

Format = Literal["json", "txt", "srt", "vtt", "ctm"]


class Input(ApiModel):
    """Where the recordings are: all objects below a prefix, or those that a manifest lists."""

    rules: ClassVar = (
        Rule(
            "has(self.uri) != has(self.manifest)",
            lambda i: (i.uri is None) != (i.manifest is None),
            "the input needs exactly one source",
            "write either uri (a prefix) or manifest (a list of recordings)",
        ),
        Rule(
            "has(self.uri) || !(has(self.include) || has(self.exclude))",
            lambda i: i.uri is not None or not (i.include or i.exclude),
            "include and exclude select among the objects below a uri",
            "remove them, or write uri instead of manifest",
        ),
    )

    uri: FolderUri | None = Field(
        None,
        description="Folder of the recordings, `s3://bucket/prefix/`. `transcription run` takes a directory too.",
        examples=["s3://calls/2026/11/"],
    )
    include: tuple[Glob, ...] = Field(
        (),
        max_length=64,
        description="Globs on the key below `uri`: `*`, `?` and `[a-z]` stay inside one folder name, `**/` stands for "
        "any number of folders, also none. Without it every object with a known audio or video extension is taken.",
        examples=["**/*.flac"],
    )
    exclude: tuple[Glob, ...] = Field(
        (),
        max_length=64,
        description="Globs of keys to leave out, applied after `include`.",
        examples=["drafts/**"],
    )
    manifest: ObjectUri | None = Field(
        None,
        description="JSON Lines object that lists the recordings, `s3://bucket/list.jsonl`.",
        examples=["s3://calls/list.jsonl"],
    )


class Encryption(ApiModel):
    """Server-side encryption of everything that the job writes."""

    rules: ClassVar = (
        Rule(
            "self.type != 'AES256' || !has(self.kmsKeyId)",
            lambda e: e.type != "AES256" or e.kms_key_id is None,
            "kmsKeyId belongs to type aws:kms",
            "write type: aws:kms, or remove kmsKeyId",
            at="kmsKeyId",
        ),
    )

    type: Literal["AES256", "aws:kms"] = Field(
        description="`AES256` (keys of the store) or `aws:kms` (a key of the key service).", examples=["aws:kms"]
    )
    kms_key_id: str | None = Field(
        None,
        min_length=1,
        max_length=2048,
        description="Key id, alias or ARN; without it the account's default key.",
        examples=["alias/transcripts"],
    )


class Output(ApiModel):
    """Where the transcripts go, and in which formats."""

    uri: FolderUri = Field(
        description="Folder of the transcripts, `s3://bucket/prefix/`. Each lies at the key of its recording below the "
        "input, with the format appended: `a.wav` gives `a.wav.json`. `transcription run` takes a directory too.",
        examples=["s3://transcripts/2026-11/"],
    )
    formats: tuple[Format, ...] = Field(
        ("json", "srt"),
        min_length=1,
        max_length=5,
        description="Formats to write. `json` is always written, named or not: it is the commit record.",
        examples=["srt"],
    )
    overwrite: Literal["Never", "IfChanged", "Always"] = Field(
        "IfChanged",
        description="What to do where a transcript exists: `Never` keeps it, `IfChanged` redoes it if the recording's "
        "ETag, the model or the options changed, `Always` redoes it.",
    )
    encryption: Encryption | None = Field(
        None, description="Server-side encryption; without it the bucket's default applies."
    )

    @property
    def all_formats(self) -> tuple[Format, ...]:
        """What is written for each recording, each format once, `json` last: it says that the rest is there."""
        return (*(name for name in dict.fromkeys(self.formats) if name != "json"), "json")


class SecretReference(ApiModel):
    """A Secret in the job's namespace."""

    name: ObjectName = Field(description="Name of the Secret.", examples=["s3-credentials"])


class CaBundle(ApiModel):
    """Certificates to trust: a key of a ConfigMap in the job's namespace, or a file."""

    rules: ClassVar = (
        Rule(
            "has(self.path) ? !has(self.configMapName) && !has(self.key) : has(self.configMapName) && has(self.key)",
            lambda c: (
                (c.config_map_name is None and c.key is None)
                if c.path is not None
                else (c.config_map_name is not None and c.key is not None)
            ),
            "a CA bundle comes from one place",
            "write either configMapName with key, or path",
        ),
    )

    config_map_name: ObjectName | None = Field(None, description="Name of the ConfigMap.", examples=["company-ca"])
    key: str | None = Field(
        None,
        min_length=1,
        max_length=253,
        pattern=r"^[-._a-zA-Z0-9]+$",
        description="Key in the ConfigMap that holds PEM certificates.",
        examples=["ca.crt"],
    )
    path: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="PEM file where the worker runs.",
        examples=["/etc/ssl/certs/company.pem"],
    )


class Storage(ApiModel):
    """How the object store is reached; it serves input, output and model alike."""

    endpoint_url: str | None = Field(
        None,
        max_length=2048,
        pattern=r"^https?://[^/\s?#@]+(/[^\s?#]*)?$",
        description="Base URL of an S3-compatible server, without a user or password; without it AWS.",
        examples=["https://s3.example.com"],
    )
    region: str | None = Field(
        None,
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9-]+$",
        description="Region for signatures; without it that of the environment.",
        examples=["eu-central-1"],
    )
    addressing_style: Literal["auto", "path", "virtual"] = Field(
        "auto",
        description="Whether the bucket stands in the path or in the host name; `auto` takes `path` where "
        "`endpointUrl` is given and `virtual` elsewhere.",
    )
    credentials_secret: SecretReference | None = Field(
        None,
        description="Secret with `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and if needed `AWS_SESSION_TOKEN`; "
        "without it the pod's own identity (service account, instance role) or environment.",
    )
    ca_bundle: CaBundle | None = Field(None, description="Certificates to trust in place of the system's.")
    checksums: Literal["when_required", "when_supported"] = Field(
        "when_required",
        description="When requests carry checksums; many S3-compatible servers refuse `when_supported`.",
    )


class ModelVolume(ApiModel):
    """A model file on a PersistentVolumeClaim of the job's namespace, mounted read-only."""

    claim_name: ObjectName = Field(description="Name of the PersistentVolumeClaim.", examples=["models"])
    path: str = Field(
        min_length=1,
        max_length=1024,
        pattern=r"^[^/].*\.nemo$",
        description="Path of the .nemo file inside the volume, without a leading slash.",
        examples=["parakeet/model.nemo"],
    )


class ModelSource(ApiModel):
    """Which NeMo model transcribes: a CTC, RNNT, TDT or hybrid model, by name, as an object, or on a volume."""

    rules: ClassVar = (
        Rule(
            "[has(self.name), has(self.uri), has(self.volume)].exists_one(given, given)",
            lambda m: [m.name, m.uri, m.volume].count(None) == 2,
            "the model needs exactly one source",
            "write one of name (a published model), uri (a .nemo object) or volume (a .nemo file on a claim)",
        ),
    )

    name: str | None = Field(
        None,
        max_length=256,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$",
        description="Name of a published model, downloaded once into the cache.",
        examples=["nvidia/parakeet-tdt-0.6b-v3"],
    )
    uri: ObjectUri | None = Field(
        None,
        description="A .nemo file in the object store. `transcription run` takes a path too.",
        examples=["s3://models/x.nemo"],
    )
    volume: ModelVolume | None = Field(None, description="A .nemo file on a volume.")
    sha256: str | None = Field(
        None,
        max_length=64,
        pattern=r"^[0-9a-f]{64}$",
        description="SHA-256 of the .nemo file in lower-case hex; a file with another digest is not loaded.",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )
