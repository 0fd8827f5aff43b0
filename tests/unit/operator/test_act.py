"""Actions as requests: each may be repeated, and what the API server says to it becomes a refusal or nothing."""

from __future__ import annotations

import copy
from datetime import datetime
from types import SimpleNamespace

import pytest

from tests.operator_scenes import UID, job
from transcription_api.names import KIND, Component
from transcription_operator.act import Actor
from transcription_operator.census import Census
from transcription_operator.config import Config
from transcription_operator.decide.actions import Create, Delete, DeleteSelf, Scale, Suspend
from transcription_operator.kube import Exists, Missing, Rejected, Unavailable
from transcription_operator.world import Record, World

CONFIG = Config(worker_image="example.com/worker:1")
PLAN = Component.PLAN


class Cluster:
    """The Jobs of an API server, as `Kube` shows them; `refuses` is raised by the next write."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict] = {}
        self.requests: list[tuple] = []
        self.refuses: Exception | None = None
        self.version = 100

    def create_job(self, body):
        self._ask("create", body["metadata"]["name"])
        if body["metadata"]["name"] in self.jobs:
            raise Exists("already exists")
        return self.put(copy.deepcopy(body))

    def get_job(self, namespace, name):
        self.requests.append(("get", name))
        if name not in self.jobs:
            raise Missing("not found")
        return self.jobs[name]

    def patch_job(self, namespace, name, patch):
        self._ask("patch", name, patch["spec"])
        if name not in self.jobs:
            raise Missing("not found")
        standing = copy.deepcopy(self.jobs[name])
        standing["spec"] |= patch["spec"]
        return self.put(standing)

    def delete_job(self, namespace, name, uid):
        self._ask("delete", name, uid)
        if name not in self.jobs:
            raise Missing("not found")
        del self.jobs[name]

    def delete_transcription_job(self, namespace, name, uid):
        self._ask("delete itself", name, uid)

    def put(self, body):
        self.version += 1
        meta = body["metadata"]
        meta.setdefault("uid", f"uid-{self.version}")
        meta |= {"resourceVersion": str(self.version), "creationTimestamp": "2026-03-01T12:00:00Z"}
        self.jobs[meta["name"]] = body
        return body

    def _ask(self, *request):
        self.requests.append(request)
        if self.refuses is not None:
            raise self.refuses


@pytest.fixture
def scene():
    cluster = Cluster()
    record = Record("team", "calls", UID, 1, False, {})
    world = World({("team", "calls"): [record]}, {}, {}, Census(()))
    actor = Actor(cluster, CONFIG, world)
    return SimpleNamespace(
        cluster=cluster,
        record=record,
        world=world,
        act=lambda *actions, **spec: actor.act(job(**spec), record, actions),
        child=lambda component=PLAN: world.child(record, component),
    )


def test_what_was_created_is_seen_at_once_before_any_watch_brings_it(scene):
    assert scene.act(Create(PLAN)) is None
    assert scene.child().name == "calls-plan" and isinstance(scene.child().created, datetime)


def test_a_child_that_was_made_in_an_earlier_life_is_taken_up(scene):
    scene.act(Create(PLAN))
    uid = scene.child().uid
    scene.world.own_children = type(scene.world.own_children)()  # a restart
    assert scene.act(Create(PLAN)) is None
    assert scene.child().uid == uid
    assert scene.cluster.requests[-2:] == [("create", "calls-plan"), ("get", "calls-plan")]


def test_a_child_that_lost_its_labels_is_said_to_be_in_the_way(scene):
    """Its end would be seen by nobody, and the job would run for ever."""
    scene.act(Create(PLAN))
    scene.cluster.jobs["calls-plan"]["metadata"]["labels"] = {}
    scene.world.own_children = type(scene.world.own_children)()
    refusal = scene.act(Create(PLAN))
    assert not refusal.final and "Job calls-plan has lost a label" in refusal.message


@pytest.mark.parametrize(
    "owners", [[], [{"uid": "x", "kind": "CronJob", "name": "nightly"}], [{"uid": "x", "kind": KIND, "name": "other"}]]
)
def test_a_foreign_job_of_that_name_is_neither_taken_up_nor_touched(scene, owners):
    foreign = scene.cluster.put({"metadata": {"name": "calls-plan", "ownerReferences": owners}, "spec": {}})
    before = copy.deepcopy(foreign)
    refusal = scene.act(Create(PLAN))
    assert refusal.component is PLAN and not refusal.final
    assert refusal.message.startswith("A Job calls-plan that belongs to something else is in the way")
    assert scene.child() is None and scene.cluster.jobs["calls-plan"] == before


def test_what_an_earlier_job_of_this_name_left_is_waited_for(scene):
    owner = {"uid": "earlier", "kind": KIND, "name": "calls"}
    scene.cluster.put({"metadata": {"name": "calls-plan", "ownerReferences": [owner]}, "spec": {}})
    assert scene.act(Create(PLAN)) is None and scene.child() is None


def test_a_job_that_went_away_before_it_was_looked_at_is_tried_again_later(scene):
    scene.cluster.refuses = Exists("already exists")
    assert scene.act(Create(PLAN)) is None and scene.child() is None


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (Rejected("spec.template: invalid", final=True), True),
        (Rejected("exceeded quota: jobs", final=False), False),
        (Missing('namespaces "team" not found'), False),
    ],
)
def test_a_child_that_is_not_taken_is_a_refusal_with_the_servers_sentence(scene, error, final):
    scene.cluster.refuses = error
    refusal = scene.act(Create(PLAN), Create(Component.WORK))
    mend = ". Correct that, delete the job and apply it again." if final else ""
    assert refusal.message == f"The API server does not take Job calls-plan: {error}{mend}"
    assert (refusal.component, refusal.final) == (PLAN, final)
    assert scene.cluster.requests == [("create", "calls-plan")], "what comes after a refusal is not asked for"


def test_fields_that_the_api_server_refuses_are_named_as_the_user_wrote_them_and_once(scene):
    too_much = "must be less than or equal to memory limit of 1Gi"
    containers = ("containers[0]", "initContainers[0]")
    causes = [(f"spec.template.spec.{one}.resources.requests", too_much) for one in containers]
    scene.cluster.refuses = Rejected("Job.batch is invalid", final=True, causes=causes)
    refusal = scene.act(Create(Component.WORK))
    assert refusal.message.startswith(
        f"The API server does not take Job calls-work: spec.workers.resources.requests: {too_much}. Correct"
    )


def test_a_spec_that_no_pod_can_take_is_refused_without_asking(scene):
    globs = [f"{number}-{'é' * 500}/**" for number in range(60)]  # six bytes a letter in the pod's environment
    refusal = scene.act(Create(PLAN), input={"uri": "s3://calls/", "include": globs})
    assert refusal.final and "shorten spec.input.include" in refusal.message
    assert scene.cluster.requests == []


@pytest.mark.parametrize("action", [Create(PLAN), Suspend(PLAN, True), Delete(PLAN), DeleteSelf()])
def test_a_server_that_is_away_is_no_refusal(scene, action):
    if not isinstance(action, Create):
        scene.act(Create(PLAN))
    scene.cluster.refuses = Unavailable("busy")
    with pytest.raises(Unavailable):
        scene.act(action)
    if isinstance(action, Delete):
        assert scene.child() is not None


def test_suspend_and_scale_are_seen_at_once(scene):
    scene.act(Create(Component.WORK))
    scene.act(Suspend(Component.WORK, True), Scale(5))
    work = scene.child(Component.WORK)
    assert (work.suspended, work.parallelism) == (True, 5)
    assert scene.cluster.requests[1:] == [
        ("patch", "calls-work", {"suspend": True}),
        ("patch", "calls-work", {"completions": 5, "parallelism": 5}),
    ]


@pytest.mark.parametrize("error", [None, Rejected("the Job has ended", final=True)])
def test_a_change_of_what_is_gone_or_has_ended_is_left_to_the_next_pass(scene, error):
    scene.cluster.refuses = error
    assert scene.act(Suspend(PLAN, True), Scale(3)) is None


@pytest.mark.parametrize("action", [Suspend(Component.WORK, True), Scale(3)])
def test_a_change_that_a_policy_refuses_is_said(scene, action):
    scene.act(Create(Component.WORK))
    scene.cluster.refuses = Rejected("ValidatingAdmissionPolicy 'frozen' denied request", final=False)
    refusal = scene.act(action)
    assert (refusal.component, refusal.final) == (Component.WORK, False)
    assert refusal.message.startswith("The API server does not let Job calls-work be changed: ValidatingAdmission")


def test_a_deleted_child_is_gone_at_once_and_only_that_very_one_is_deleted(scene):
    scene.act(Create(PLAN))
    uid = scene.child().uid
    scene.act(Delete(PLAN))
    assert scene.child() is None and scene.cluster.requests[-1] == ("delete", "calls-plan", uid)
    scene.act(Delete(PLAN))
    assert len(scene.cluster.requests) == 2, "there is nothing left to delete"
    scene.act(Create(PLAN))
    assert scene.child() is not None and scene.child().uid != uid


def test_a_job_that_deletes_itself_is_looked_at_no_more(scene):
    scene.act(DeleteSelf())
    assert scene.cluster.requests == [("delete itself", "calls", UID)]
    assert scene.world.record(("team", "calls")) is None
