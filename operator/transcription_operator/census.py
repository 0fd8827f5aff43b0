"""What there really is, counted now and then: a watch that broke off may never say what was deleted meanwhile.

A relist after a gap (410 Gone) brings what exists, not what no longer does, so that indices keep it for ever. An object
of an index is gone when a later list lacks it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from transcription_api.names import GROUP, LABEL_JOB, PLURAL, VERSION
from transcription_operator.kube import Kube

SECONDS = 300.0
"""Between two censuses: three cheap lists of names each."""

RESOURCES = {"records": f"apis/{GROUP}/{VERSION}/{PLURAL}", "children": "apis/batch/v1/jobs", "pods": "api/v1/pods"}
"""By the name of their index."""


class Versioned(Protocol):
    """Something with the resourceVersion of its last change."""

    @property
    def version(self) -> int: ...

    @property
    def uid(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Count:
    """The UIDs of all objects of one kind at one resourceVersion."""

    version: int
    uids: frozenset[str]


@dataclass
class Census:
    """The last count of each index. Before the first one everything counts as there."""

    namespaces: tuple[str, ...]
    _counts: dict[str, Count] = field(default_factory=dict)

    def take(self, kube: Kube) -> None:
        """Count everything; blocking.

        Raises:
            KubeError: it cannot be listed, or not now.
        """
        for index, resource in RESOURCES.items():
            selector = "" if index == "records" else LABEL_JOB
            parts = [kube.list_uids(resource, place, selector) for place in self.namespaces or ("",)]
            # Of several lists the oldest tells how far all of them can be believed.
            self._counts[index] = Count(min(version for version, _ in parts), frozenset().union(*(u for _, u in parts)))

    def exists(self, index: str, item: Versioned) -> bool:
        count = self._counts.get(index)
        return count is None or item.version > count.version or item.uid in count.uids
