"""Which of the watched namespaces can be watched: one that was deleted took its Role along, and costs no other.

kopf ends the whole operator when one of its watches is refused for a minute, at every start anew.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from transcription_api.names import LABEL_JOB
from transcription_operator.census import RESOURCES
from transcription_operator.kube import Kube, Rejected, Unavailable

ATTEMPTS = 5
PAUSE_SECONDS = 1.0
"""A definition that has just been made is served after a second or two."""


def out_of_reach_at_start(kube: Kube, namespaces: Sequence[str]) -> Mapping[str, str]:
    """As `out_of_reach`, with patience; none where it cannot be told: the first census finds out."""
    for _ in range(ATTEMPTS):
        try:
            return out_of_reach(kube, namespaces)
        except Unavailable:
            time.sleep(PAUSE_SECONDS)
    return {}


def out_of_reach(kube: Kube, namespaces: Sequence[str]) -> Mapping[str, str]:
    """The namespaces in which something may not be listed, each with what the API server says; blocking.

    None where it is all of them: then no namespace has gone, but the operator has no rights yet, which it waits for.

    Raises:
        KubeError: it cannot be told now.
    """
    refused = {}
    for namespace in namespaces:
        try:
            for resource in RESOURCES.values():
                kube.list_uids(resource, namespace, LABEL_JOB)
        except Rejected as error:
            refused[namespace] = str(error)
    return refused if len(refused) < len(namespaces) else {}
