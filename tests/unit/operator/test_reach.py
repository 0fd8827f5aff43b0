"""A watched namespace that has gone is left out, and the others are watched."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace

import pytest

from transcription_operator import operation, reach
from transcription_operator.config import Config
from transcription_operator.kube import Rejected, Unavailable
from transcription_operator.operation import Operation
from transcription_operator.reach import out_of_reach, out_of_reach_at_start


class Lists:
    """An API server that refuses to list in some namespaces."""

    def __init__(self, *refused, error=None):
        self.refused, self.error = set(refused), error or Rejected("cannot list resource", final=False)

    def list_uids(self, resource, namespace, selector):
        if namespace in self.refused and "pods" in resource:
            raise self.error
        return 1, frozenset()


@pytest.mark.parametrize(
    ("lists", "namespaces", "expected"),
    [
        (Lists(), ("a", "b"), {}),
        (Lists("b"), ("a", "b"), {"b": "cannot list resource"}),
        (Lists("a", "b"), ("a", "b"), {}),
        (Lists(""), (), {}),
    ],
    ids=["all there", "one has gone", "no rights at all", "whole cluster"],
)
def test_what_is_out_of_reach(lists, namespaces, expected):
    assert out_of_reach(lists, namespaces) == expected


def test_a_server_that_is_away_tells_nothing():
    with pytest.raises(Unavailable):
        out_of_reach(Lists("b", error=Unavailable("away")), ("a", "b"))


def test_at_the_start_a_server_that_is_busy_is_asked_again(monkeypatch):
    monkeypatch.setattr(reach, "PAUSE_SECONDS", 0)
    lists = Lists("b", error=Unavailable("storage is (re)initializing"))
    assert out_of_reach_at_start(lists, ("a", "b")) == {}
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        lists.error = Rejected("cannot list resource", final=False)

    monkeypatch.setattr(reach.time, "sleep", pause)
    assert out_of_reach_at_start(lists, ("a", "b")) == {"b": "cannot list resource"} and len(pauses) == 1


@pytest.mark.parametrize(
    ("watched", "left_out", "lists", "ends"),
    [
        (("a", "b"), {}, Lists("b"), True),
        (("a",), {"b": "why"}, Lists(), True),
        (("a",), {"b": "why"}, Lists("b"), False),
        (("a", "b"), {}, Lists(), False),
        (("a", "b"), {}, Lists("a", "b"), False),
        (("a",), {"b": "why"}, Lists("b", error=Unavailable("busy")), False),
    ],
    ids=["goes", "comes back", "stays away", "all is well", "no rights at all", "cannot be told"],
)
def test_a_new_start_follows_when_the_reach_changes(monkeypatch, watched, left_out, lists, ends):
    monkeypatch.setattr(operation, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(operation, "CENSUS_SECONDS", 0.01)
    killed = []
    monkeypatch.setattr(os, "kill", lambda *given: killed.append(given))

    def take(kube):
        for namespace in watched:
            kube.list_uids("api/v1/pods", namespace, "")

    world = SimpleNamespace(census=SimpleNamespace(take=take), jobs=list)

    async def count():
        one = Operation(Config("image", namespaces=watched), left_out)
        try:
            async with asyncio.timeout(0.3):
                await one._count(lists, world)
        except TimeoutError:
            return

    asyncio.run(count())
    assert bool(killed) == ends
