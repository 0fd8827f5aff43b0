"""One pass: at most one patch of the status, the events after it, and nothing written over what is newer."""

from __future__ import annotations

import asyncio
import copy
import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.operator_scenes import NOW, UID, job
from transcription_api.names import API_VERSION, KIND
from transcription_operator.census import Census
from transcription_operator.config import Config
from transcription_operator.kube import Conflict, Missing, Rejected, Unavailable
from transcription_operator.reconcile import OUTDATED_SECONDS, Reconciler, _difference, phases
from transcription_operator.world import Record, World

KEY = ("team", "calls")
RESYNC = 10.0


class ApiServer:
    """One TranscriptionJob, its Jobs and its events, with the versions that an API server gives."""

    def __init__(self, **spec) -> None:
        self.version = 1
        body = job(**spec).model_dump(mode="json", by_alias=True, exclude_none=True)
        body["metadata"] |= {"resourceVersion": "1", "creationTimestamp": "2026-03-01T12:00:00Z"}
        self.job = {**body, "apiVersion": API_VERSION, "kind": KIND}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.patches: list[dict[str, Any]] = []
        self.fails: dict[str, Exception] = {}

    def create_job(self, body):
        self._may("create_job")
        self.version += 1
        meta = {"uid": f"u{self.version}", "resourceVersion": str(self.version)}
        body = copy.deepcopy(body)
        body["metadata"] |= {**meta, "creationTimestamp": "2026-03-01T12:00:00Z"}
        self.jobs[body["metadata"]["name"]] = body
        return body

    def patch_status(self, namespace, name, status, *, version):
        self._may("patch_status")
        if str(version) != self.job["metadata"]["resourceVersion"]:
            raise Conflict("the object has been modified")
        self.patches.append(status)
        self.version += 1
        self.job = copy.deepcopy(self.job)
        self.job["metadata"]["resourceVersion"] = str(self.version)
        self.job["status"] = merged(self.job.get("status", {}), status)
        return self.job

    def create_event(self, namespace, body):
        self._may("create_event")
        self.events.append(body["reason"])

    def warnings_about(self, namespace, uid):
        return []

    def changed_by_somebody(self):
        self.version += 1
        self.job["metadata"]["resourceVersion"] = str(self.version)

    def _may(self, what):
        if what in self.fails:
            raise self.fails[what]


def merged(target, patch):
    """RFC 7386, in its own words."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


@pytest.fixture
def scene():
    server = ApiServer()
    records = {KEY: [Record.of(server.job)]}
    world = World(records, {}, {}, Census(()))
    forgotten = []
    listener = SimpleNamespace(totals=lambda *_: None, forget=forgotten.append)
    reconciler = Reconciler(server, Config("example.com/worker:1", resync_seconds=RESYNC), world, listener, lambda: NOW)

    def watch_catches_up():
        records[KEY] = [Record.of(server.job)]

    def one_pass():
        return asyncio.run(reconciler.pass_over(KEY))

    return SimpleNamespace(
        server=server,
        records=records,
        world=world,
        catch_up=watch_catches_up,
        one_pass=one_pass,
        forgotten=forgotten,
    )


def test_the_first_pass_makes_the_plan_job_and_says_so_once(scene):
    assert scene.one_pass() == RESYNC
    assert list(scene.server.jobs) == ["calls-plan"]
    assert scene.server.job["status"]["phase"] == "Pending" and scene.server.events == ["Planning"]


def test_passes_before_the_watch_has_caught_up_repeat_nothing(scene):
    for _ in range(5):
        scene.one_pass()
    assert list(scene.server.jobs) == ["calls-plan"] and scene.server.events == ["Planning"]
    assert [patch["phase"] for patch in scene.server.patches] == ["Pending", "Planning"]
    scene.catch_up()
    scene.one_pass()
    assert len(scene.server.patches) == 2, "an unchanged status is not written"


def test_nothing_is_written_over_a_version_that_was_not_seen(scene):
    scene.server.changed_by_somebody()
    assert scene.one_pass() == OUTDATED_SECONDS
    assert scene.server.patches == [] and scene.server.events == []
    scene.catch_up()
    assert scene.one_pass() == RESYNC
    assert scene.server.events == ["Planning"]


def test_a_job_that_has_gone_meanwhile_is_no_error(scene):
    scene.server.fails["patch_status"] = Missing("gone")
    assert scene.one_pass() == RESYNC and scene.server.events == []


def test_a_job_that_is_being_deleted_is_left_alone(scene):
    scene.server.job["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    scene.catch_up()
    assert scene.one_pass() is None
    scene.records.clear()
    scene.forgotten.clear()
    assert scene.one_pass() is None
    assert scene.server.jobs == {} and scene.server.patches == []
    assert scene.forgotten == [KEY], "a pass that was under way when it went may have asked its workers once more"


@pytest.mark.parametrize("error", [Missing("gone"), Rejected("namespace is being terminated", final=False)])
def test_an_event_that_is_not_taken_costs_nothing(scene, error):
    scene.server.fails["create_event"] = error
    assert scene.one_pass() == RESYNC
    assert scene.server.job["status"]["phase"] == "Pending"


def test_a_child_that_is_not_taken_is_said_in_the_same_pass_and_asked_for_again(scene):
    scene.server.fails["create_job"] = Rejected("exceeded quota: jobs", final=False)
    assert scene.one_pass() == RESYNC
    assert "exceeded quota: jobs" in scene.server.job["status"]["conditions"][-1]["message"]
    assert scene.server.events == ["Refused"] and len(scene.server.patches) == 1
    scene.server.fails.clear()
    scene.one_pass()
    assert list(scene.server.jobs) == ["calls-plan"]


def test_a_child_that_can_never_be_taken_ends_the_job(scene):
    scene.server.fails["create_job"] = Rejected("spec.template: invalid", final=True)
    assert scene.one_pass() is None
    assert scene.server.job["status"]["phase"] == "Failed" and scene.server.events == ["Configuration"]


def test_what_could_not_be_done_is_not_said_to_be(scene):
    scene.server.fails["create_job"] = Unavailable("busy")
    with pytest.raises(Unavailable):
        scene.one_pass()
    assert scene.server.patches == []


def test_a_spec_of_another_release_ends_the_job_with_its_faults(scene):
    scene.server.job["spec"]["model"] = {"oracle": "x"}
    scene.catch_up()
    assert scene.one_pass() is None
    failed = next(one for one in scene.server.job["status"]["conditions"] if one["type"] == "Failed")
    assert failed["reason"] == "InvalidSpec" and "spec.model" in failed["message"]
    assert scene.one_pass() is None and scene.server.events == ["InvalidSpec"]


def test_every_job_has_a_phase(scene):
    scene.records[("team", "later")] = [
        Record("team", "later", "u", 1, False, {"status": {"phase": "OfALaterRelease"}})
    ]
    assert [phase.value for phase in phases(scene.world)] == ["Pending", "Pending"]
    assert scene.records[KEY][0].uid == UID


scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
fields = st.text("abc", min_size=1, max_size=1)
objects = st.dictionaries(fields, scalars.filter(lambda value: value is not None), max_size=3)
statuses = st.dictionaries(fields, objects | st.lists(objects, max_size=2) | st.integers(), max_size=3)


@given(statuses, statuses)
def test_the_patch_turns_the_old_status_into_the_new_one(before, after):
    patch = json.loads(json.dumps(_difference(before, after)))
    assert merged(before, patch) == after
    assert (patch == {}) == (before == after)
