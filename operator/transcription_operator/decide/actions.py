"""What a decision may ask for. Each action may be repeated without harm."""

from __future__ import annotations

from dataclasses import dataclass

from transcription_api.names import Component


@dataclass(frozen=True, slots=True)
class Create:
    """Make a child; one that exists already is as good."""

    component: Component


@dataclass(frozen=True, slots=True)
class Suspend:
    """Write `spec.suspend` of a child."""

    component: Component
    suspend: bool


@dataclass(frozen=True, slots=True)
class Scale:
    """Write completions and parallelism of the work Job: an elastic Indexed Job (KEP-3715)."""

    replicas: int


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a child and its pods."""

    component: Component


@dataclass(frozen=True, slots=True)
class DeleteSelf:
    """Delete the TranscriptionJob; its children follow by their owner references."""


Action = Create | Suspend | Scale | Delete | DeleteSelf
