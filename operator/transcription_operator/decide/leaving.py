"""A job whose namespace is being deleted: its children go at once, for Kubernetes does not get rid of them by itself.

From 1.33 a namespace's pods go before all else (KEP-5080). The Job controller keeps the last failed pod of an index by
a finalizer until its successor is made (backoffLimitPerIndex, KEP-3850), and in a namespace that is going none can be:
the namespace would stay for ever. A Job that is deleted lets go of its pods.
"""

from __future__ import annotations

from transcription_operator.decide.actions import Action, Delete
from transcription_operator.observed import Observed


def leaving(seen: Observed) -> tuple[Action, ...]:
    return tuple(Delete(child.component) for child in seen.children if not child.deleting)
