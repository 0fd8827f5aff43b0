"""One pass over one job: observe, decide, act, then one status patch and the events that go with it.

Level-triggered: a pass looks at everything, whatever woke it, so that a lost event or a restart loses nothing. When
passes happen stands in `loop.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from transcription_api.job import TranscriptionJob
from transcription_api.names import Component, Phase
from transcription_api.status import TranscriptionJobStatus
from transcription_operator.act import Actor
from transcription_operator.config import Config
from transcription_operator.decide import Decision, decide, has_ended, invalid
from transcription_operator.events import event_body, transitions
from transcription_operator.kube import Conflict, Kube, Missing, Rejected
from transcription_operator.listening import Listener
from transcription_operator.manifest import InvalidSpec, parse, without_spec
from transcription_operator.observed import Observed, Totals
from transcription_operator.trouble import TroubleReader
from transcription_operator.world import Key, Record, World

log = logging.getLogger(__name__)

OUTDATED_SECONDS = 1.0
"""For a watch to bring what has changed, if it did not wake a pass itself."""


class Reconciler:
    """Makes passes; holds nothing that a restart would miss."""

    def __init__(
        self, kube: Kube, config: Config, world: World, listener: Listener, now: Callable[[], datetime]
    ) -> None:
        self._kube, self._config, self._world, self._now = kube, config, world, now
        self._actor = Actor(kube, config, world)
        self._listener, self._trouble = listener, TroubleReader(kube, config.resync_seconds)

    async def pass_over(self, key: Key) -> float | None:
        """One pass.

        Returns:
            Seconds until the next look that no watch would ask for; None when there is nothing to come.

        Raises:
            KubeError: what was not done is done by a later pass.
        """
        record = self._world.record(key)
        if record is None or record.deleting:
            self._listener.forget(key)  # a pass that was under way when the job went may have asked once more
            return None
        try:
            job = parse(record)
        except InvalidSpec as error:
            return await self._refuse(record, str(error))
        seen = await self._observe(record, job)
        decision = decide(job, seen, self._now())
        refusal = await asyncio.to_thread(self._actor.act, job, record, decision.actions)
        if refusal is not None:
            decision = decide(job, replace(seen, refusal=refusal), self._now())
        if not await self._say(record, job, decision.status):
            return OUTDATED_SECONDS
        return self._next_look(decision)

    async def _refuse(self, record: Record, faults: str) -> float | None:
        job = without_spec(record)
        if has_ended(job.status):
            return None
        decision = invalid(job, faults, self._look(record), self._now())
        return self._next_look(decision) if await self._say(record, job, decision.status) else OUTDATED_SECONDS

    # -- observe

    async def _observe(self, record: Record, job: TranscriptionJob) -> Observed:
        seen = self._look(record)
        if _a_worker_goes(seen) and await asyncio.to_thread(self._kube.is_going, record.namespace):
            return replace(seen, namespace_going=True)
        if has_ended(job.status):
            self._listener.forget((record.namespace, record.name))
            return seen
        trouble = await asyncio.to_thread(self._trouble.about, record.namespace, seen, self._now())
        return replace(seen, totals=self._totals(record, seen), trouble=trouble)

    def _look(self, record: Record) -> Observed:
        return Observed(
            plan=self._world.child(record, Component.PLAN),
            work=self._world.child(record, Component.WORK),
            report=self._world.child(record, Component.REPORT),
            pods=self._world.pods_of(record),
        )

    def _totals(self, record: Record, seen: Observed) -> Totals | None:
        """What the workers said last; nothing where none works."""
        key, work = (record.namespace, record.name), seen.work
        if work is None or work.outcome is not None or work.suspended:
            self._listener.forget(key)
            return None
        return self._listener.totals(key, seen.pods_of(work))

    # -- say

    async def _say(self, record: Record, job: TranscriptionJob, status: TranscriptionJobStatus) -> bool:
        """One patch, only where something changed; then the events. False where the job had changed meanwhile.

        What was decided on an old version is not written over a newer one, be it another operator's or one's own from
        before a long sleep: the watch brings the newer one, and the next pass decides anew.
        """
        patch = _difference(record.body.get("status") or {}, _dump(status))
        if not patch:
            return True
        try:
            written = await asyncio.to_thread(
                self._kube.patch_status, record.namespace, record.name, patch, version=record.version
            )
        except Missing:
            return True
        except Conflict:
            return False
        self._world.own_records.wrote(f"{record.namespace}/{record.name}", Record.of(written))
        for event in transitions(job.status, status):
            log.info("%s/%s: %s: %s", record.namespace, record.name, event.reason, event.message)
            try:
                body = event_body(job, event, self._now())
                await asyncio.to_thread(self._kube.create_event, record.namespace, body)
            except (Missing, Rejected) as error:  # the namespace is going
                log.debug("no event: %s", error)
        return True

    def _next_look(self, decision: Decision) -> float | None:
        if has_ended(decision.status):
            return decision.look_again
        looks = (decision.look_again, self._config.resync_seconds)
        return max(0.1, min(seconds for seconds in looks if seconds is not None))


def _a_worker_goes(seen: Observed) -> bool:
    """Whether a pod is being deleted: somebody's wish, or its namespace's end."""
    work = seen.work
    return work is not None and work.outcome is None and any(pod.deleting for pod in seen.pods_of(work))


def _dump(status: TranscriptionJobStatus) -> dict[str, Any]:
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def _difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The JSON merge patch (RFC 7386) that turns one into the other, of whole top-level fields."""
    changed = {
        name: _replacement(before.get(name), value) for name, value in after.items() if before.get(name) != value
    }
    return changed | {name: None for name in before if name not in after}


def _replacement(before: Any, after: Any) -> Any:
    """A merge patch keeps fields of an object that it does not name: those to go are named with null."""
    if isinstance(before, dict) and isinstance(after, dict):
        return after | {name: None for name in before if name not in after}
    return after


def phases(world: World) -> Iterator[Phase]:
    """Of every job there is."""
    for record in map(world.record, world.jobs()):
        if record is not None:
            yield _phase_of(record)


def _phase_of(record: Record) -> Phase:
    try:
        return Phase((record.body.get("status") or {}).get("phase", Phase.PENDING))
    except ValueError:
        return Phase.PENDING
