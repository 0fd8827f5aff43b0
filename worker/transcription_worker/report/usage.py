"""What a job took, from the timesheets of its workers: time by step, GPU seconds, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from transcription_worker.errors import ConfigurationError
from transcription_worker.places import CURRENCY_VARIABLE, GPU_PRICE_VARIABLE
from transcription_worker.time_use import Step, Timesheet

HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Price:
    """What an hour of one GPU costs, in a currency as people write it."""

    gpu_hour: float
    currency: str

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> Price | None:
        """As a deployment names it; None where it names none, or 0. Raises ConfigurationError."""
        text = environment.get(GPU_PRICE_VARIABLE, "").strip()
        try:
            gpu_hour = float(text or "0")
        except ValueError:
            gpu_hour = math.nan
        if not (math.isfinite(gpu_hour) and gpu_hour >= 0):
            raise ConfigurationError(
                f"{GPU_PRICE_VARIABLE} is {text!r} and must be what one GPU costs per hour, a number such as 2.49."
            )
        return cls(gpu_hour, environment.get(CURRENCY_VARIABLE) or "USD") if gpu_hour else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the workers of this run took, but for the last minutes of those that were killed.

    `workers` processes that told and had a batch in the model, or a GPU; `worker_seconds` they lived, split by what the
    model did or waited for (`time_use.Step`); `model_busy` is its share. `audio_seconds` went through their models,
    with what another was quicker with and what failed later. `gpu_seconds` is their life times their GPUs, and the
    rest follows from it: None where there was no GPU, no audio, or no price is known.
    """

    workers: int
    worker_seconds: float
    seconds: Mapping[str, float]
    model_busy: float
    audio_seconds: float
    gpu_seconds: float | None
    gpu_seconds_per_audio_hour: float | None
    cost: float | None
    currency: str | None

    @classmethod
    def of(cls, sheets: Iterable[Timesheet], price: Price | None) -> Usage | None:
        """Adds up; None where no worker left a timesheet."""
        workers, audio, gpu_seconds = 0, 0.0, 0.0
        seconds = dict.fromkeys((step.value for step in Step), 0.0)
        for sheet in sheets:
            workers += 1
            audio += sheet.audio_seconds
            lived = sum(sheet.seconds.values())
            gpu_seconds += lived * sheet.gpus
            for step, spent in sheet.seconds.items():
                seconds[step] += spent
        total = sum(seconds.values())
        if not total:
            return None
        on_gpus = gpu_seconds > 0
        cost = price.gpu_hour * gpu_seconds / HOUR if price and on_gpus else None
        return cls(
            workers=workers,
            worker_seconds=round(total, 3),
            seconds={step: round(spent, 3) for step, spent in seconds.items()},
            model_busy=round(seconds[Step.MODEL] / total, 4),
            audio_seconds=round(audio, 3),
            gpu_seconds=round(gpu_seconds, 3) if on_gpus else None,
            gpu_seconds_per_audio_hour=round(gpu_seconds * HOUR / audio, 3) if on_gpus and audio else None,
            cost=round(cost, 4) if cost is not None else None,
            currency=price.currency if price and cost is not None else None,
        )
