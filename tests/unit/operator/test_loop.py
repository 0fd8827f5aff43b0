"""When passes happen: once per job at a time, as soon as something woke them, later and later where they fail."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from transcription_operator import loop as loops
from transcription_operator.kube import Rejected, Unavailable
from transcription_operator.loop import Loop
from transcription_operator.metrics import Metrics
from transcription_operator.server import Health

A, B = ("team", "a"), ("team", "b")
SECOND = 0.02
"""A second of these tests, in seconds."""


class Passes:
    """Records passes; `result` says what the next one does, by its number."""

    def __init__(self, result: Callable[[int], Awaitable[float | None]] | None = None) -> None:
        self.times: list[float] = []
        self.keys: list[tuple[str, str]] = []
        self.running = self.most = 0
        self._result = result

    async def __call__(self, key):
        self.times.append(asyncio.get_running_loop().time())
        self.keys.append(key)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return await self._result(len(self.times)) if self._result else None
        finally:
            self.running -= 1

    async def reach(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.times) < count:
                await asyncio.sleep(0.001)

    @property
    def gaps(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]


@asynccontextmanager
async def running(passes: Passes, resync: float = 60.0, health: Health | None = None):
    loop = Loop(passes, resync, health or Health(), Metrics())
    task = asyncio.create_task(loop.run())
    try:
        yield loop
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture(autouse=True)
def short_seconds(monkeypatch):
    monkeypatch.setattr(loops, "FIRST_RETRY_SECONDS", SECOND)
    monkeypatch.setattr(loops, "LONGEST_RETRY_SECONDS", 60 * SECOND)


async def settle() -> None:
    """Let everything run that is ready to run."""
    for _ in range(20):
        await asyncio.sleep(0)


def errors(loop: Loop, kind: str) -> float:
    return float(loop.metrics.errors.labels(kind)._value.get())


def test_many_wakes_before_a_pass_make_one():
    async def run():
        passes = Passes()
        async with running(passes) as loop:
            for _ in range(100):
                loop.wake(A)
            await passes.reach(1)
            await settle()
        assert passes.keys == [A]

    asyncio.run(run())


def test_a_wake_in_the_middle_of_a_pass_makes_one_more_after_it():
    async def run():
        gate = asyncio.Event()

        async def wait(_):
            await gate.wait()

        passes = Passes(wait)
        async with running(passes) as loop:
            loop.wake(A)
            await passes.reach(1)
            for _ in range(10):
                loop.wake(A)
                await settle()
            assert passes.keys == [A] and passes.most == 1
            gate.set()
            await passes.reach(2)
            await settle()
        assert passes.keys == [A, A] and passes.most == 1

    asyncio.run(run())


def test_jobs_do_not_wait_for_each_other_up_to_a_limit():
    async def run():
        gate = asyncio.Event()

        async def wait(_):
            await gate.wait()

        passes = Passes(wait)
        async with running(passes) as loop:
            for number in range(loops.AT_ONCE + 5):
                loop.wake(("team", str(number)))
            await passes.reach(loops.AT_ONCE)
            await settle()
            assert passes.running == loops.AT_ONCE
            gate.set()
            await passes.reach(loops.AT_ONCE + 5)
        assert passes.most == loops.AT_ONCE and len(set(passes.keys)) == loops.AT_ONCE + 5

    asyncio.run(run())


def test_a_pass_says_when_the_next_one_is_due():
    async def run():
        async def soon(number):
            return SECOND if number < 3 else None

        passes = Passes(soon)
        async with running(passes) as loop:
            loop.wake(A)
            await passes.reach(3)
            await asyncio.sleep(3 * SECOND)
        assert passes.keys == [A] * 3
        assert all(gap >= SECOND for gap in passes.gaps)

    asyncio.run(run())


def test_a_wake_comes_before_what_the_clock_says():
    async def run():
        async def much_later(_):
            return 3600.0

        passes = Passes(much_later)
        async with running(passes) as loop:
            loop.wake(A)
            await passes.reach(1)
            loop.wake(A)
            await passes.reach(2)

    asyncio.run(run())


def test_failed_passes_come_again_after_a_while_that_doubles_and_not_past_a_success():
    async def run():
        async def fail(number):
            if number not in (6, 8):
                raise Rejected("You may not.", final=False)
            return 0.0 if number == 6 else None

        passes = Passes(fail)
        async with running(passes) as loop:
            loop.wake(A)
            await passes.reach(8)
            assert errors(loop, "Rejected") == 6
        *failed, _, after_success = passes.gaps
        assert all(gap >= 2**n * SECOND for n, gap in enumerate(failed))
        assert SECOND <= after_success < 2 ** len(failed) * SECOND  # what another doubling would be

    asyncio.run(run())


def test_the_api_server_says_how_long_to_wait_and_is_not_believed_for_ever():
    async def run():
        async def busy(number):
            if number < 3:
                raise Unavailable("busy", seconds=5 * SECOND if number == 1 else 1e9)

        passes = Passes(busy)
        async with running(passes) as loop:
            loop.wake(A)
            await passes.reach(3)
        assert 5 * SECOND <= passes.gaps[0] < 30 * SECOND
        assert passes.gaps[1] >= 60 * SECOND

    asyncio.run(run())


def test_an_error_that_nobody_thought_of_is_logged_once_per_pass_and_costs_no_other_job(caplog):
    async def run():
        async def break_first(number):
            if number == 1:
                raise ZeroDivisionError("oh")

        passes = Passes(break_first)
        with caplog.at_level(logging.ERROR):
            async with running(passes) as loop:
                loop.wake(A)
                await passes.reach(1)
                loop.wake(B)
                await passes.reach(3)
                assert errors(loop, "Unexpected") == 1
        assert sorted(passes.keys) == [A, A, B]
        assert [record.getMessage() for record in caplog.records] == ["team/a: the pass failed, next one in 0 s"]

    asyncio.run(run())


def test_a_job_that_is_gone_is_not_looked_at_again():
    async def run():
        async def soon(_):
            return SECOND

        passes = Passes(soon)
        async with running(passes) as loop:
            loop.wake(A)
            await passes.reach(1)
            await settle()
            loop.forget(A)
            before = list(passes.keys)
            await asyncio.sleep(3 * SECOND)
        assert passes.keys == before

    asyncio.run(run())


def test_it_lives_while_there_is_nothing_to_do_and_not_while_a_pass_hangs(monkeypatch):
    monkeypatch.setattr(loops, "IDLE_SECONDS", SECOND)

    async def run():
        async def hang(_):
            await asyncio.Event().wait()

        health, passes = Health(), Passes(hang)
        async with running(passes, SECOND, health) as loop:
            await asyncio.sleep(10 * SECOND)
            assert health.age < 8 * SECOND
            loop.wake(A)
            await passes.reach(1)
            await asyncio.sleep(10 * SECOND)
            assert health.age >= 9 * SECOND

    asyncio.run(run())
