"""How wide a worker works: how much of each thing it does at once, from its CPUs and whether it has a GPU."""

from __future__ import annotations

from transcription_api.job import TranscriptionJobSpec
from transcription_worker.pipeline import PipelineOptions

READERS, MOST_READERS = 8, 64
MOST_DECODERS = 16
COMMITTERS = 16
CPUS_PER_STORE_PROCESS = 3
"""A third of the CPU time of a short recording, from listing to commit, goes into its requests."""
MOST_STORE_PROCESSES = 4
"""Two can make more requests than the one process that wants them can want."""
FETCH_BYTES = 4 << 30
"""The most bytes of recordings in scratch at once, for each decoder: three hours in stereo are two gigabytes, and while
they are decoded the next arrives."""
SHARERS = 8
"""So many workers, one for each GPU of a node, may have their scratch on one disk, and none knows of the others."""
BATCH_SECONDS = 120.0
SURE_BATCH_SECONDS, SURE_BATCH_SECONDS_ON_GPU = 960.0, 1920.0
LARGEST_BATCH_SECONDS_ON_GPU = 3840.0
"""Padded audio per batch where `batchSeconds: auto`: the first one, what quick ones grow to, and what they may grow to
on a GPU where that is seen to help."""
BUFFERED_SECONDS = 2400.0
"""Decoded audio waiting for the model or in it: at 64 kB a second this is 154 MB. While the toolkit is imported,
decoding goes on."""
BUFFERED_BATCHES, BUFFERED_BATCHES_ON_GPU = 2.5, 3.5
"""So many batches, where that is more: while one is in the model, the next gathers with room to choose from. A GPU has
two at once, and is through with them before readers could make up for a third that there was no room for."""


def pipeline_options(
    spec: TranscriptionJobSpec, cpus: int, *, on_gpu: bool, conditional_writes: bool
) -> PipelineOptions:
    options = spec.transcription
    if options.batch_seconds == "auto":
        first = BATCH_SECONDS
        sure = SURE_BATCH_SECONDS_ON_GPU if on_gpu else SURE_BATCH_SECONDS
        largest = LARGEST_BATCH_SECONDS_ON_GPU if on_gpu else sure
    else:
        first = sure = largest = float(options.batch_seconds)
    return PipelineOptions(
        readers=readers(cpus),
        decoders=decoders(cpus),
        committers=COMMITTERS,
        batch_seconds=first,
        sure_batch_seconds=sure,
        largest_batch_seconds=largest,
        buffered_seconds=BUFFERED_SECONDS,
        buffered_batches=BUFFERED_BATCHES_ON_GPU if on_gpu else BUFFERED_BATCHES,
        attempts=spec.failure_policy.attempts_per_recording,
        conditional_writes=conditional_writes,
        batches_at_once=2 if on_gpu else 1,
        words=options.timestamps != "none",
    )


def decoders(cpus: int) -> int:
    """How many recordings are decoded at once: one CPU is left to the worker itself."""
    return max(1, min(MOST_DECODERS, cpus - 1))


def readers(cpus: int) -> int:
    """How many recordings are read at once. A reader that waits for the store decodes nothing: there are as many again
    as decoders, or a store that takes its time would leave those idle."""
    return max(READERS, min(2 * cpus, MOST_READERS))


def store_processes(cpus: int) -> int:
    return min(MOST_STORE_PROCESSES, max(1, cpus // CPUS_PER_STORE_PROCESS))


def fetch_bytes(decoders: int, free_bytes: int, *, in_memory: bool, sharers: int = 1) -> int:
    """How many bytes of recordings may lie in scratch at once: as much as one decoder needs, of half of what is free at
    most, and as much as all of them need where half of it is plenty for all workers that may share it. Memory is never
    that. `sharers`: workers that are known to share it."""
    plenty = 0 if in_memory else free_bytes // (2 * max(SHARERS, sharers))
    return max(min(FETCH_BYTES, free_bytes // 2), min(FETCH_BYTES * decoders, plenty))
