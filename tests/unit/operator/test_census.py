"""A census tells what an index still holds although it was deleted while no watch looked."""

from __future__ import annotations

from dataclasses import dataclass

from tests.operator_scenes import UID, child, job
from transcription_api.names import Component
from transcription_operator.census import RESOURCES, Census
from transcription_operator.world import Record, World


class Lists:
    """The lists of an API server, by resource and namespace."""

    def __init__(self, answers):
        self.answers = answers

    def list_uids(self, resource, namespace, selector):
        return self.answers.get((resource, namespace), (100, frozenset()))


@dataclass(frozen=True)
class Item:
    version: int
    uid: str


def census(answers, *namespaces):
    taken = Census(namespaces)
    taken.take(Lists(answers))
    return taken


def test_before_the_first_census_everything_is_there():
    assert Census(()).exists("pods", Item(1, "a"))


def test_what_a_later_list_lacks_is_gone():
    taken = census({("api/v1/pods", ""): (50, frozenset({"a"}))})
    assert taken.exists("pods", Item(40, "a"))
    assert not taken.exists("pods", Item(40, "b"))
    assert taken.exists("pods", Item(51, "c")), "made after the list"


def test_of_several_namespaces_the_oldest_list_tells_how_far_to_believe():
    pods = "api/v1/pods"
    taken = census({(pods, "x"): (50, frozenset({"a"})), (pods, "y"): (60, frozenset({"b"}))}, "x", "y")
    assert taken.exists("pods", Item(10, "a")) and taken.exists("pods", Item(10, "b"))
    assert taken.exists("pods", Item(55, "c")) and not taken.exists("pods", Item(50, "c"))


def record(uid, version):
    meta = {"name": "calls", "namespace": "team", "uid": uid, "resourceVersion": str(version)}
    return Record.of({**job().to_manifest(), "metadata": meta})


def test_of_two_jobs_of_one_name_the_living_one_is_seen():
    """A watch that broke off never said that the first was deleted."""
    key = ("team", "calls")
    world = World({key: [record("old", 10), record("new", 20)]}, {}, {}, Census(()))
    assert world.record(key).uid == "new"
    world.census = census({(RESOURCES["records"], ""): (30, frozenset())})
    assert world.record(key) is None


def test_a_child_that_is_gone_is_not_waited_for():
    key = ("team", "calls")
    work = child(Component.WORK, version=10)
    world = World({}, {key: [work]}, {}, Census(()))
    assert world.child(record(UID, 1), Component.WORK) == work
    world.census = census({})
    assert world.child(record(UID, 1), Component.WORK) is None
