"""Workers that share a plan through a store, without the work."""

import random

from transcription_worker.claims import Claims
from transcription_worker.layout import JobLayout
from transcription_worker.plan import Recording

LAYOUT = JobLayout("job-1")

GIANT = Recording("giant.wav", "e", 32_000 * 36_000)
"""Ten hours."""


def claims_of(store, index, workers, shards, life=1, **options):
    identity = f"w{index}" if life == 1 else f"w{index}-{life}"
    options = {"rng": random.Random(index), **options}
    return Claims(store, LAYOUT, index=index, workers=workers, shards=shards, identity=identity, **options)


def finish(store, taken):
    store.put(LAYOUT.ledger(taken.shard), b"")


def nothing_in_hand():
    return frozenset()
