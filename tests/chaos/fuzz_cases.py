"""The inputs of a fuzzing run, in order and the same for the same seed: real, damaged, built, and bombs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos.fuzz_bombs import BOMBS
from tests.chaos.fuzz_grammar import built
from tests.chaos.fuzz_mutations import mutate
from tests.chaos.fuzz_seeds import Seed

BATCH = 200
BUILT_PER_BATCH = 60
REAL_EVERY = 40
"""Among so many damaged ones is one that is whole: a fuzzer whose files all fail at the door tests the door."""


@dataclass(frozen=True, slots=True)
class Case:
    """One input. `origin` says how it came to be; `whole` that it must decode."""

    number: int
    origin: str
    suffix: str
    body: bytes
    whole: bool = False

    @property
    def name(self) -> str:
        return f"{self.number:06d}.{self.suffix}"


def cases(inputs: int, seed: int, seeds: list[Seed], *, bombs: bool = True) -> Iterator[Case]:
    """`inputs` cases, of which the last are the bombs, one of each."""
    number = 0
    for number, (origin, suffix, body) in enumerate(_endless(seed, seeds)):
        if number >= inputs - (len(BOMBS) if bombs else 0):
            break
        yield Case(number, origin, suffix, body, whole=origin.startswith("whole "))
    if bombs:
        for offset, (name, build) in enumerate(BOMBS.items()):
            yield Case(number + offset, f"bomb: {name}", "bin", build())


def _endless(seed: int, seeds: list[Seed]) -> Iterator[tuple[str, str, bytes]]:
    batch = 0
    while True:
        dice = random.Random(f"{seed}:{batch}")
        for n in range(BATCH - BUILT_PER_BATCH):
            chosen = dice.choice(seeds)
            if n % REAL_EVERY == 0:
                yield f"whole {chosen.name}", chosen.suffix, chosen.body
            else:
                done, body = mutate(chosen, dice, seeds)
                yield f"{chosen.name} {done}", chosen.suffix, body
        for family, body in built(dice.getrandbits(32), BUILT_PER_BATCH):
            yield f"built {family}", "bin", body
        batch += 1
