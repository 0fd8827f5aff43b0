"""A fleet in virtual time: recordings, workers, what befalls them, and what it cost in the end."""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.simulation.clock import Process, World
from tests.simulation.store import MemoryStore, Meter, RemoteStore
from tests.simulation.worker import Life
from transcription_worker.layout import JobLayout
from transcription_worker.outcome import Outcome, read_outcomes
from transcription_worker.plan import BYTES_PER_SECOND, Recording, make_plan
from transcription_worker.scratch import Scratch


@dataclass(frozen=True)
class Scenario:
    """What is simulated. Deaths and freezes fall at random moments of the time that the work takes at the least.

    Args:
        speed: audio seconds per second of the slowest worker; the fastest does four times as much.
        deaths: of workers that are replaced, by a pod that begins `restart_seconds` later.
        lost: workers that die and are not replaced, at random moments.
        freezes: workers that stand still for `freeze_seconds` and go on.
        late: workers that join when half of the work's time is over.
        misjudged: by how many times, either way, the plan's estimate of a recording is wrong at the most.
        load_seconds: from a pod's start until its model is loaded.
    """

    recordings: int = 100_000
    workers: int = 32
    seed: int = 1
    speed: float = 100.0
    median_seconds: float = 120.0
    giants: int = 20
    deaths: int = 0
    lost: int = 0
    freezes: int = 0
    late: int = 0
    freeze_seconds: float = 60.0
    load_seconds: float = 20.0
    restart_seconds: float = 10.0
    misjudged: float = 3.0


@dataclass
class Result:
    """`makespan` is when the last shard had its ledger, `last_exit` when the last worker that lives was through,
    `bound` when the fleet would have been through had every model worked whenever it was loaded and running,
    `expected` what docs/sizing.md says without a tail (the start, and the audio over the speed of all), `tail` the most
    that it allows for one: the longest recording on the slowest worker."""

    makespan: float
    last_exit: float
    bound: float
    expected: float
    tail: float
    audio_seconds: float
    heard_seconds: float
    shards: int
    recordings: int
    lives: int
    meter: Meter
    outcomes: list[Outcome]

    @property
    def ratio(self) -> float:
        return self.makespan / self.bound

    @property
    def doubled(self) -> float:
        """Share of the audio that went through a model beyond once."""
        return self.heard_seconds / self.audio_seconds - 1

    @property
    def beside(self) -> int:
        """Requests beside those that ask for a recording, its audio or its transcript: plan, claims, ledgers."""
        return sum(count for name, count in self.meter.requests.items() if " " in name)

    @property
    def own(self) -> int:
        """Requests for recordings and transcripts: three of each where nothing happens."""
        return self.meter.requests.total() - self.beside


class Fleet:
    """Plays a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.world = World()
        self.bucket = MemoryStore(lambda: self.world.now)
        self.meter = Meter()
        self.layout = JobLayout("simulated-1")
        self.rng = random.Random(scenario.seed)
        self.durations: dict[str, float] = {}
        self.lives: list[Life] = []
        self.last_exit = 0.0
        self._living: dict[int, Life] = {}
        self._nature = Process()

    def play(self, until: float = math.inf) -> Result:
        """To the end, or to a moment: then there are figures so far."""
        s = self.scenario
        shards = self._plan()
        audio = sum(self.durations.values())
        speeds = [s.speed * 4 ** (i / max(1, s.workers - 1)) for i in range(s.workers)]
        self.rng.shuffle(speeds)
        length = s.load_seconds + audio / sum(speeds)
        late = set(self.rng.sample(range(s.workers), s.late))
        for index, speed in enumerate(speeds):
            self._at(length / 2 if index in late else 0.0, partial(self._start, index, speed))
        for befalls in (*[self._lose] * s.lost, *[self._kill] * (s.deaths - s.lost), *[self._freeze] * s.freezes):
            self._at(self.rng.uniform(0, length), befalls)
        self.world.run(until)
        return Result(
            makespan=self.meter.last_put.get("ledger", math.inf),
            last_exit=self.last_exit,
            bound=capacity_bound([span for life in self.lives for span in life.spans()], audio),
            expected=length,
            tail=max(self.durations.values()) / s.speed,
            audio_seconds=audio,
            heard_seconds=sum(life.heard_seconds for life in self.lives),
            shards=shards,
            recordings=s.recordings,
            lives=len(self.lives),
            meter=self.meter,
            outcomes=[
                o for info in self.bucket.list(self.layout.ledgers) for o in read_outcomes(self.bucket.get(info.key))
            ],
        )

    def _plan(self) -> int:
        """Log-normal recordings and a few giants; of each the plan sees a size that is wrong by up to so many times."""
        s = self.scenario
        recordings = []
        for number in range(s.recordings):
            giant = number < s.giants
            seconds = (
                self.rng.uniform(3, 12) * 3600 if giant else self.rng.lognormvariate(math.log(s.median_seconds), 1)
            )
            size = int(seconds * BYTES_PER_SECOND["flac"] * s.misjudged ** self.rng.uniform(-1, 1))
            recordings.append(Recording(f"calls/{number:06d}.flac", f"e{number}", size))
            self.durations[recordings[-1].key] = seconds
        self.rng.shuffle(recordings)
        with tempfile.TemporaryDirectory() as folder, Scratch(Path(folder) / "scratch", min_free_bytes=0) as scratch:
            plan = make_plan(
                recordings,
                self.bucket,
                self.layout,
                scratch,
                workers=s.workers,
                conditional_writes=True,
                now=lambda: "2026-01-01T00:00:00Z",
            )
        return plan.shards

    # -- what befalls workers

    def _at(self, when: float, happens: Callable[[], None]) -> None:
        self.world.start(self._nature, happens, when)

    def _start(self, index: int, speed: float) -> None:
        number = len(self.lives)
        life = Life(
            world=self.world,
            store=RemoteStore(self.bucket, self.world, self.meter, random.Random(self.rng.random())),
            layout=self.layout,
            durations=self.durations,
            index=index,
            workers=self.scenario.workers,
            number=number,
            speed=speed,
            load_seconds=self.scenario.load_seconds,
            ended=partial(self._ended, index),
        )
        self.lives.append(life)
        self._living[index] = life
        life.begin()

    def _ended(self, index: int) -> None:
        del self._living[index]
        self.last_exit = self.world.now

    def _lose(self) -> None:
        """A worker dies for good."""
        if self._living:
            self._pick_dead()

    def _kill(self) -> None:
        """A worker dies and is replaced."""
        if self._living:
            life = self._pick_dead()
            self._at(self.scenario.restart_seconds, partial(self._start, life.index, life.speed))

    def _pick_dead(self) -> Life:
        life = self._living.pop(self.rng.choice(sorted(self._living)))
        life.die()
        return life

    def _freeze(self) -> None:
        if self._living:
            self._living[self.rng.choice(sorted(self._living))].freeze(self.scenario.freeze_seconds)


def capacity_bound(spans: list[tuple[float, float, float]], audio_seconds: float) -> float:
    """When models that work from, to, at a speed have had time for so much audio."""
    changes = sorted([(begin, speed) for begin, _, speed in spans] + [(end, -speed) for _, end, speed in spans])
    left, speed, before = audio_seconds, 0.0, 0.0
    for when, change in changes:
        if speed > 0 and before + left / speed <= when:
            break
        left -= speed * (when - before)
        before, speed = when, speed + change
    return before + left / speed
