"""What the watches have brought, with the operator's own writes on top: the only way from indices to observations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from transcription_api.names import Component
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
    own_records: Overlay[Record] = field(default_factory=Overlay)
    own_children: Overlay[ChildJob] = field(default_factory=Overlay)

    def keys(self) -> list[Key]:
        return list(self.records)

    def record(self, key: Key) -> Record | None:
        watched = next(iter(self.records.get(key, ())), None)
        newest = self.own_records.newest("/".join(key), watched)
        # Without a watched one, what was written is an echo of an object that has gone.
        return newest if watched is not None else None

    def child(self, record: Record, component: Component) -> ChildJob | None:
        """The child of this very object; one of an earlier object of that name, still being collected, is none."""
        watched = {child.name: child for child in self._children(record) if child.component is component}
        name = f"{record.name}-{component}"
        return self.own_children.newest(f"{record.uid}/{name}", watched.get(name))

    def pods_of(self, record: Record) -> tuple[Pod, ...]:
        return tuple(self.pods.get((record.namespace, record.name), ()))

    def wrote_child(self, record: Record, body: Mapping[str, Any]) -> None:
        child = observe_child(body)
        if child is not None:
            self.own_children.wrote(f"{record.uid}/{child.name}", child)

    def _children(self, record: Record) -> Iterator[ChildJob]:
        found = self.children.get((record.namespace, record.name), ())
        return (child for child in found if child.owner_uid == record.uid)
