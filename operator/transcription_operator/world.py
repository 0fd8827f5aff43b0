"""What the watches have brought, with the operator's own writes on top: the only way from indices to observations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from transcription_api.names import Component
from transcription_operator.census import Census
from transcription_operator.observe import observe_child
from transcription_operator.observed import ChildJob, Pod
from transcription_operator.overlay import Overlay

Key = tuple[str, str]
"""Namespace and name of a TranscriptionJob."""


@dataclass(frozen=True, slots=True)
class Record:
    """A TranscriptionJob as the API server has it."""

    namespace: str
    name: str
    uid: str
    version: int
    deleting: bool
    body: Mapping[str, Any]

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Record:
        meta = body["metadata"]
        kept = ("name", "namespace", "uid", "generation", "labels", "creationTimestamp")
        return cls(
            namespace=meta["namespace"],
            name=meta["name"],
            uid=meta["uid"],
            version=int(meta["resourceVersion"]),
            deleting="deletionTimestamp" in meta,
            body={
                "apiVersion": body["apiVersion"],
                "kind": body["kind"],
                "metadata": {name: meta[name] for name in kept if name in meta},
                "spec": body.get("spec", {}),
                "status": body.get("status", {}),
            },
        )


@dataclass
class World:
    """The three indices, each a live view: key to the values of one or several objects."""

    records: Mapping[Key, Iterable[Record]]
    children: Mapping[Key, Iterable[ChildJob]]
    pods: Mapping[Key, Iterable[Pod]]
    census: Census
    own_records: Overlay[Record] = field(default_factory=Overlay)
    own_children: Overlay[ChildJob] = field(default_factory=Overlay)

    def jobs(self) -> list[Key]:
        return list(self.records)

    def record(self, key: Key) -> Record | None:
        living = (record for record in self.records.get(key, ()) if self.census.exists("records", record))
        watched = max(living, key=lambda record: record.version, default=None)
        newest = self.own_records.newest("/".join(key), watched)
        # Without a watched one, what was written is an echo of an object that has gone.
        return newest if watched is not None else None

    def child(self, record: Record, component: Component) -> ChildJob | None:
        """The child of this very object; one of an earlier object of that name, still being collected, is none."""
        found = self.children.get((record.namespace, record.name), ())
        own = (child for child in found if (child.owner_uid, child.component) == (record.uid, component))
        living = (child for child in own if self.census.exists("children", child))
        watched = max(living, key=lambda child: child.version, default=None)
        return self.own_children.newest(f"{record.uid}/{component}", watched)

    def pods_of(self, record: Record) -> tuple[Pod, ...]:
        found = self.pods.get((record.namespace, record.name), ())
        return tuple(pod for pod in found if self.census.exists("pods", pod))

    def wrote_child(self, record: Record, body: Mapping[str, Any]) -> bool:
        """False where its labels or owner do not say whose it is."""
        child = observe_child(body)
        if child is not None:
            self.own_children.wrote(f"{record.uid}/{child.component}", child)
        return child is not None
