"""Makes an OCI image archive from a list of files, with no registry and no tool.

The format is the OCI image layout, version 1.0.0, in a tar; containerd imports it. One layer, no time stamps.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of an image, owned by root: a folder, or a symbolic link to `link`, or a file with `content`."""

    path: str
    content: bytes | None = None
    link: str | None = None
    mode: int = 0o755


def write_image(
    archive: Path,
    reference: str,
    entries: Iterable[Entry],
    *,
    entrypoint: Sequence[str] = (),
    command: Sequence[str] = (),
) -> None:
    """Write the image `reference` (name:tag) to `archive`."""
    platform_ = {"architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()), "os": "linux"}
    layer = _layer(entries)
    config = _json(
        {
            **platform_,
            "created": _EPOCH,
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Entrypoint": list(entrypoint),
                "Cmd": list(command),
            },
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
        }
    )
    name = {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference.rpartition(":")[2]}
    described = _descriptor("application/vnd.oci.image.manifest.v1+json", manifest)
    index = {"schemaVersion": 2, "manifests": [{**described, "platform": platform_, "annotations": name}]}
    with tarfile.open(archive, "w") as tar:
        _add(tar, Entry("oci-layout", _json({"imageLayoutVersion": "1.0.0"}), mode=0o644))
        _add(tar, Entry("index.json", _json(index), mode=0o644))
        for blob in (config, manifest, layer):
            _add(tar, Entry(f"blobs/{_digest(blob).replace(':', '/')}", blob, mode=0o644))


def _layer(entries: Iterable[Entry]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            _add(tar, entry)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, entry: Entry) -> None:
    member = tarfile.TarInfo(entry.path)
    member.mode = entry.mode
    if entry.link is not None:
        member.type, member.linkname = tarfile.SYMTYPE, entry.link
    elif entry.content is None:
        member.type = tarfile.DIRTYPE
    else:
        member.size = len(entry.content)
    tar.addfile(member, io.BytesIO(entry.content) if entry.content is not None else None)


def _descriptor(media_type: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
