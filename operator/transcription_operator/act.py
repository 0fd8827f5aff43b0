"""Actions become requests. Each may be repeated: what exists, is gone, or is so already counts as done."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import Any

from transcription_api.job import TranscriptionJob
from transcription_api.names import KIND, Component
from transcription_operator.builders import (
    ManifestTooLargeError,
    build_plan_job,
    build_report_job,
    build_work_job,
    child_name,
    origin,
)
from transcription_operator.config import Config
from transcription_operator.decide.actions import Action, Create, Delete, DeleteSelf, Scale, Suspend
from transcription_operator.kube import Exists, Kube, Missing, Rejected
from transcription_operator.observed import Refusal
from transcription_operator.world import Record, World

log = logging.getLogger(__name__)

_MEND = "Correct that, delete the job and apply it again."

Builder = Callable[[TranscriptionJob, Config], dict[str, Any]]

BUILDERS: dict[Component, Builder] = {
    Component.PLAN: build_plan_job,
    Component.WORK: build_work_job,
    Component.REPORT: build_report_job,
}


class Actor:
    """Carries actions out for one job at a time; blocking."""

    def __init__(self, kube: Kube, config: Config, world: World) -> None:
        self._kube, self._config, self._world = kube, config, world

    def act(self, job: TranscriptionJob, record: Record, actions: Iterable[Action]) -> Refusal | None:
        """Carry out all actions; what the API server said to a child, or to the change of one, that it did not take.

        Raises:
            Unavailable: the API server cannot be used now; what was not done is asked for again by the next pass.
        """
        for action in actions:
            match action:
                case Create(component):
                    if refusal := self._create(job, record, component):
                        return refusal
                case Suspend(component, suspend):
                    if refusal := self._patch(record, component, {"suspend": suspend}):
                        return refusal
                case Scale(replicas):
                    size = {"completions": replicas, "parallelism": replicas}
                    if refusal := self._patch(record, Component.WORK, size):
                        return refusal
                case Delete(component):
                    self._delete(record, component)
                case DeleteSelf():
                    self._delete_self(record)
        return None

    def _create(self, job: TranscriptionJob, record: Record, component: Component) -> Refusal | None:
        try:
            body = BUILDERS[component](job, self._config)
        except ManifestTooLargeError as error:
            return Refusal(component, str(error), final=True)
        try:
            created = self._kube.create_job(body)
        except Exists:
            return self._adopt(record, component)
        except (Rejected, Missing) as error:
            final = isinstance(error, Rejected) and error.final
            said = f"The API server does not take Job {body['metadata']['name']}: {_faults(error, body, job)}"
            return Refusal(component, f"{said}. {_MEND}" if final else said, final)
        self._world.wrote_child(record, created)
        log.info("%s/%s: created the %s Job", record.namespace, record.name, component)
        return None

    def _adopt(self, record: Record, component: Component) -> Refusal | None:
        """A Job of that name exists: ours of a pass before, an earlier object's that is going, or somebody else's."""
        name = child_name(record.name, component)
        try:
            standing = self._kube.get_job(record.namespace, name)
        except Missing:
            return None
        owners = standing["metadata"].get("ownerReferences", ())
        if any(owner["uid"] == record.uid for owner in owners):
            if self._world.wrote_child(record, standing):
                return None
            return Refusal(
                component,
                f"Job {name} has lost a label or the owner by which it is known; delete it, and it is made anew.",
                final=False,
            )
        if any((owner["kind"], owner["name"]) == (KIND, record.name) for owner in owners):
            log.info("%s/%s: Job %s of an earlier job of this name is going", record.namespace, record.name, name)
            return None  # its deletion wakes the next pass
        return Refusal(
            component,
            f"A Job {name} that belongs to something else is in the way; delete it, or give this job another name.",
            final=False,
        )

    def _patch(self, record: Record, component: Component, spec: dict[str, Any]) -> Refusal | None:
        name = child_name(record.name, component)
        try:
            self._world.wrote_child(record, self._kube.patch_job(record.namespace, name, {"spec": spec}))
        except Missing:
            return None
        except Rejected as error:
            if not error.final:  # a policy or a right that is missing
                return Refusal(component, f"The API server does not let Job {name} be changed: {error}", final=False)
            # The Job has ended meanwhile: the next pass sees.
            log.warning("%s/%s: Job %s was not changed: %s", record.namespace, record.name, name, error)
        return None

    def _delete(self, record: Record, component: Component) -> None:
        child = self._world.child(record, component)
        if child is None:
            return
        with contextlib.suppress(Missing):
            self._kube.delete_job(record.namespace, child.name, child.uid)
        self._world.own_children.deleted(child.uid)
        log.info("%s/%s: deleted the %s Job", record.namespace, record.name, component)

    def _delete_self(self, record: Record) -> None:
        with contextlib.suppress(Missing):
            self._kube.delete_transcription_job(record.namespace, record.name, record.uid)
        self._world.own_records.deleted(record.uid)
        log.info("%s/%s: deleted, ttlSecondsAfterFinished is over", record.namespace, record.name)


def _faults(error: Rejected | Missing, body: dict[str, Any], job: TranscriptionJob) -> str:
    """What is wrong, each fault once, in the words of the TranscriptionJob where the API server says where it is."""
    causes = error.causes if isinstance(error, Rejected) else ()
    return "; ".join(dict.fromkeys(f"{origin(field, body, job)}: {fault}" for field, fault in causes)) or str(error)
