"""`transcription-worker work`: one worker of a job, from the plan to its last ledger."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import FrameType
from typing import Literal

from transcription_worker import __version__
from transcription_worker.claims import Claims, Taken, WaitForModel, fixed_split
from transcription_worker.commit import Committer, Overwrite
from transcription_worker.engines.protocol import Engine
from transcription_worker.errors import ExitCode
from transcription_worker.intake import IntakeOptions
from transcription_worker.job_context import JobContext
from transcription_worker.job_progress import JobProgress
from transcription_worker.model_cache import sweep_partials
from transcription_worker.model_file import ModelFile
from transcription_worker.pipeline import Depths, Pipeline
from transcription_worker.places import POD_NAME_VARIABLE
from transcription_worker.plan import Plan, read_plan, read_shard
from transcription_worker.progress import Progress
from transcription_worker.resources import cpu_count, share_heaps, shows_gpu
from transcription_worker.scratch import Scratch
from transcription_worker.status_server import Address, serving
from transcription_worker.store import with_processes
from transcription_worker.store.process import StoreProcesses
from transcription_worker.time_use import Step, Timesheet
from transcription_worker.timesheet import kept_timesheet
from transcription_worker.timestamps import utc_now
from transcription_worker.transcript import Provenance
from transcription_worker.widths import decoders, fetch_bytes, pipeline_options, store_processes

log = logging.getLogger(__name__)

SHARDS_KEPT = 4


class Signals:
    """SIGTERM and SIGINT from now on: the first drains, the second cleans scratch and ends the process at once.

    Until there is a pipeline there is nothing to drain: the first then ends the process too.
    """

    def __init__(self, scratch: Scratch, progress: Progress) -> None:
        self.pipeline: Pipeline | None = None
        self._scratch = scratch
        self._progress = progress
        self._seen = False
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._seen:
            log.warning("second signal: stopped without waiting for the batch in flight")
            self._scratch.close()
            os._exit(ExitCode.DRAINED)
        self._seen = self._progress.draining = True
        if self.pipeline is None:
            raise SystemExit(ExitCode.DRAINED)
        log.warning("%s: draining", signal.Signals(number).name)
        # On a thread of its own: the handler may have interrupted the model's owner inside a lock.
        threading.Thread(target=self.pipeline.drain, name="drain", daemon=True).start()


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """Which index of the Indexed Job this is, of how many, and where it runs; as text never that of an earlier life."""

    index: int
    workers: int

    def __str__(self) -> str:
        return f"{self.index}/{os.environ.get(POD_NAME_VARIABLE) or socket.gethostname()}/{os.getpid()}"


def run_work(
    context: JobContext,
    identity: WorkerIdentity,
    scratch_root: Path,
    cache: Path,
    progress: Progress,
    listen: Address | None = None,
    *,
    local: bool,
) -> ExitCode:
    """Work until every shard has its ledger, or until SIGTERM or SIGINT drains.

    Args:
        local: whether the CPU does where a job asks for GPUs and there is none: on one machine it does, while a pod
            was given what it does not see.
        listen: where to answer HTTP meanwhile, from before the model is loaded.

    Raises:
        ConfigurationError: store, model or address cannot be used.
        RetryableError: the store went away.
    """
    from transcription_api.quantity import parse_quantity

    share_heaps()
    spec = context.job.spec.workers.scratch
    with Scratch(
        scratch_root,
        min_free_bytes=parse_quantity(spec.min_free),
        # statvfs does not show the limit of an emptyDir.
        size_limit_bytes=None if spec.volume else parse_quantity(spec.size_limit),
    ) as scratch:
        sweep_partials(cache)  # whoever finds nothing to do needs no model, and would leave them
        os.environ.update(scratch.environment(cache))
        signals = Signals(scratch, progress)
        with (
            _pages(listen, context, identity, progress, scratch, signals),
            StoreProcesses(store_processes(cpu_count())) as processes,
        ):
            with progress.time_use.doing(Step.START):  # the digest of a model on a volume takes seconds
                plan = read_plan(context.output_store, context.layout)
                pipeline = _pipeline(context, plan, identity, scratch, cache, progress, processes, local=local)
            signals.pipeline = pipeline
            key = f"{context.layout.workers}{identity.index}-{uuid.uuid4().hex[:8]}.json"
            sheet = partial(_timesheet, context, plan, identity, progress, local=local)
            with kept_timesheet(context.output_store, key, sheet):
                drained = pipeline.run()
    return ExitCode.DRAINED if drained else ExitCode.OK


@contextmanager
def _pages(
    listen: Address | None,
    context: JobContext,
    identity: WorkerIdentity,
    progress: Progress,
    scratch: Scratch,
    signals: Signals,
) -> Iterator[None]:
    if listen is None:
        yield
        return
    from transcription_worker.metrics import metrics_page
    from transcription_worker.worker_pages import WorkerPages

    pages = WorkerPages(
        index=identity.index,
        worker=str(identity),
        progress=progress,
        job=JobProgress(context.output_store, context.layout),
        metrics=metrics_page(progress, scratch, lambda: signals.pipeline.depths() if signals.pipeline else Depths()),
    )
    with serving(listen, pages.routes()):
        yield


def _timesheet(
    context: JobContext, plan: Plan, identity: WorkerIdentity, progress: Progress, *, local: bool
) -> Timesheet | None:
    """What this process took so far; None where it took nothing that is counted."""
    now, gpus = progress.snapshot(), _gpus(context, progress, local=local)
    if not now.batches and not gpus:
        return None
    return Timesheet(
        str(identity),
        plan.attempt,
        gpus,
        now.model_audio_seconds,
        {step.value: seconds for step, seconds in progress.time_use.seconds().items()},
        progress.start,
    )


def _gpus(context: JobContext, progress: Progress, *, local: bool) -> int:
    """Those that this process holds: a pod's whether or not it found something for them to do, others once a model is
    loaded (and torch imported to its end)."""
    there = not local or (bool(progress.start) and sys.modules["torch"].cuda.is_available())
    return context.job.spec.workers.gpus if there else 0


def _pipeline(
    context: JobContext,
    plan: Plan,
    identity: WorkerIdentity,
    scratch: Scratch,
    cache: Path,
    progress: Progress,
    processes: StoreProcesses,
    *,
    local: bool,
) -> Pipeline:
    spec = context.job.spec
    input_store = with_processes(context.input_store, processes)
    output_store = with_processes(context.output_store, processes)
    model = ModelFile(context.model, context.model_label, cache, scratch, progress)
    model_digest = progress.model_digest = context.model.identity()
    on_gpu = spec.workers.gpus > 0 and (not local or shows_gpu())
    cpus = cpu_count()
    # Read for its weight and then, when it is taken, for its recordings.
    shard = lru_cache(SHARDS_KEPT)(partial(read_shard, context.output_store, context.layout, plan))
    claims = Claims(
        context.output_store,
        context.layout,
        index=identity.index,
        workers=identity.workers,
        shards=plan.shards,
        identity=str(identity),
        speed=progress.model_speed,
        read_shard=shard,
    )
    return Pipeline(
        takes=claims.take if plan.conditional_writes else partial(_fixed, identity, plan.shards),
        claims=claims if plan.conditional_writes else None,
        input_store=input_store,
        output_store=output_store,
        layout=context.layout,
        read_shard=shard,
        committer=Committer(
            output_store,
            job_id=context.layout.job_id,
            model_digest=model_digest,
            options_digest=context.options_digest,
            formats=spec.output.all_formats,
            overwrite=Overwrite(spec.output.overwrite),
            conditional_writes=plan.conditional_writes,
        ),
        provenance=Provenance(
            job=context.layout.job_id,
            model=context.model_label,
            model_digest=model_digest,
            options_digest=context.options_digest,
            engine="",
            software=f"transcription-operator {__version__}",
            precision="",
            language=spec.transcription.language,
        ),
        engine=partial(_engine, context, model, scratch, local=local),
        scratch=scratch,
        intake=IntakeOptions(
            channels=spec.transcription.channels,
            max_segment_seconds=spec.transcription.max_segment_seconds,
            max_recording_seconds=spec.transcription.max_recording_seconds,
            sample_rate=lambda: model.archive()[1].sample_rate,
            fetch_bytes=fetch_bytes(
                decoders(cpus),
                scratch.free_bytes(),
                in_memory=spec.workers.scratch.medium == "Memory",
                sharers=identity.workers if local or spec.workers.scratch.volume else 1,
            ),
        ),
        options=pipeline_options(spec, cpus, on_gpu=on_gpu, conditional_writes=plan.conditional_writes),
        progress=progress,
        identity=str(identity),
        now=utc_now,
    )


def _engine(context: JobContext, model: ModelFile, scratch: Scratch, *, local: bool) -> Engine:
    from transcription_worker.engines.nemo import NemoEngine

    options = context.job.spec.transcription
    gpu: Literal["auto", "cuda"] = "auto" if local else "cuda"
    return NemoEngine(
        model.archive()[0],
        scratch=scratch.path,
        confidence=options.confidence,
        precision=options.precision,
        device=gpu if context.job.spec.workers.gpus else "cpu",
        decoder=options.decoder,
        attention=options.attention,
        language=options.language,
        threads=None,
    )


def _fixed(
    identity: WorkerIdentity,
    shards: int,
    in_hand: Callable[[], frozenset[int]],
    wait_for_model: WaitForModel,
    rest: Callable[[float], None],
) -> Iterator[Taken]:
    return fixed_split(index=identity.index, workers=identity.workers, shards=shards)
