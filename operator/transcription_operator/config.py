"""What a deployment sets: the operator's only configuration, read once from the environment. The chart writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DEFAULT_CONTROL_RESOURCES: Mapping[str, Any] = {
    "requests": {"cpu": "100m", "memory": "256Mi"},
    "limits": {"memory": "1Gi"},
}


class ConfigError(Exception):
    """The environment is wrong; the message says which variable and what to write."""


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting of the operator.

    Attributes:
        worker_image: image of the pods of jobs that name none (`TRANSCRIPTION_WORKER_IMAGE`, required).
        image_pull_policy: of those pods; empty leaves it to Kubernetes (`TRANSCRIPTION_IMAGE_PULL_POLICY`).
        image_pull_secrets: names of Secrets in each job's namespace (`TRANSCRIPTION_IMAGE_PULL_SECRETS`, by comma).
        namespaces: watched; none is the whole cluster (`TRANSCRIPTION_WATCH_NAMESPACES`, by comma).
        resync_seconds: longest time between two passes over one job (`TRANSCRIPTION_RESYNC_SECONDS`).
        grace_seconds: what a worker gets to drain, terminationGracePeriodSeconds (`TRANSCRIPTION_GRACE_SECONDS`).
        control_resources: of plan and report pods, core/v1 ResourceRequirements
            (`TRANSCRIPTION_CONTROL_RESOURCES`, JSON).
        http_port: of /healthz, /readyz and /metrics (`TRANSCRIPTION_HTTP_PORT`).
        log_format: `text` or `json` (`TRANSCRIPTION_LOG_FORMAT`).
        gpu_hour_price: what an hour of one GPU costs, 0 where that is not known (`TRANSCRIPTION_GPU_HOUR_PRICE`).
        currency: of that price (`TRANSCRIPTION_CURRENCY`).
    """

    worker_image: str
    image_pull_policy: str = ""
    image_pull_secrets: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    resync_seconds: float = 10.0
    grace_seconds: int = 300
    control_resources: Mapping[str, Any] = field(default_factory=lambda: DEFAULT_CONTROL_RESOURCES)
    http_port: int = 8080
    log_format: str = "text"
    gpu_hour_price: float = 0.0
    currency: str = "USD"


def read_config(environment: Mapping[str, str]) -> Config:
    """Read the settings from environment variables.

    Raises:
        ConfigError: a variable is missing or cannot be read.
    """
    image = environment.get("TRANSCRIPTION_WORKER_IMAGE", "")
    if not image:
        raise ConfigError("TRANSCRIPTION_WORKER_IMAGE is not set: name the image of the worker pods.")
    return Config(
        worker_image=image,
        image_pull_policy=_one_of(
            environment, "TRANSCRIPTION_IMAGE_PULL_POLICY", ("", "Always", "IfNotPresent", "Never")
        ),
        image_pull_secrets=_names(environment, "TRANSCRIPTION_IMAGE_PULL_SECRETS"),
        namespaces=_names(environment, "TRANSCRIPTION_WATCH_NAMESPACES"),
        resync_seconds=_number(environment, "TRANSCRIPTION_RESYNC_SECONDS", 10.0, 1, 3600),
        grace_seconds=int(_number(environment, "TRANSCRIPTION_GRACE_SECONDS", 300, 30, 86_400)),
        control_resources=_resources(environment, "TRANSCRIPTION_CONTROL_RESOURCES"),
        http_port=int(_number(environment, "TRANSCRIPTION_HTTP_PORT", 8080, 1, 65_535)),
        log_format=_one_of(environment, "TRANSCRIPTION_LOG_FORMAT", ("text", "json")),
        gpu_hour_price=_number(environment, "TRANSCRIPTION_GPU_HOUR_PRICE", 0.0, 0, 1e9),
        currency=environment.get("TRANSCRIPTION_CURRENCY") or "USD",
    )


def _one_of(environment: Mapping[str, str], name: str, values: tuple[str, ...]) -> str:
    value = environment.get(name) or values[0]
    if value not in values:
        raise ConfigError(f"{name} is {value!r}: write one of {', '.join(filter(None, values))}.")
    return value


def _names(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in environment.get(name, "").split(",") if part.strip())


def _number(environment: Mapping[str, str], name: str, default: float, smallest: float, largest: float) -> float:
    text = environment.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        raise ConfigError(f"{name} is {text!r}: write a number.") from None
    if not value >= smallest:
        raise ConfigError(f"{name} is {text}: write at least {smallest:g}.")
    if value > largest:
        raise ConfigError(f"{name} is {text}: write at most {largest:.0f}.")
    return value


def _resources(environment: Mapping[str, str], name: str) -> Mapping[str, Any]:
    text = environment.get(name, "")
    if not text:
        return DEFAULT_CONTROL_RESOURCES
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{name} is no JSON ({error}): write core/v1 ResourceRequirements.") from None
    if not isinstance(value, dict) or set(value) - {"requests", "limits", "claims"}:
        raise ConfigError(f"{name} holds no ResourceRequirements: write an object with requests and limits.")
    return value
