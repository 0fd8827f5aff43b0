"""What the pods of a job are made of by name: containers, variables, paths, port, exit codes.

The operator never imports the worker, so what both sides must agree on stands here a second time; a test holds this
page against the worker's own. Names of labels, annotations and children are the API's (`transcription_api.names`).
"""

from __future__ import annotations

from enum import IntEnum

WORKER_COMMAND = "transcription-worker"
"""Entry point of every container; the first argument says which."""
SWEEP = "sweep"
"""The init container of a worker, and its command. The main containers are named as their `Component`."""
VERBOSE = "--verbose"
"""One line in a pod's log for every recording that was settled."""
DRAIN = "drain"
"""The preStop hook's command."""

JOB_VARIABLE = "TRANSCRIPTION_JOB"
"""The manifest as JSON."""
SCRATCH_VARIABLE = "TRANSCRIPTION_SCRATCH"
CACHE_VARIABLE = "TRANSCRIPTION_CACHE"
GPU_PRICE_VARIABLE = "TRANSCRIPTION_GPU_HOUR_PRICE"
CURRENCY_VARIABLE = "TRANSCRIPTION_CURRENCY"
MODEL_DIRECTORY_VARIABLE = "TRANSCRIPTION_MODEL_DIR"
LISTEN_VARIABLE = "TRANSCRIPTION_LISTEN"
"""`host:port` on which a worker answers /readyz, /progress and /metrics."""
POD_NAME_VARIABLE = "POD_NAME"

SCRATCH_PATH = "/scratch"
CACHE_PATH = "/cache"
MODEL_PATH = "/model"
SHARED_MEMORY_PATH = "/dev/shm"  # noqa: S108  a mount of the pod's own
CA_BUNDLE_PATH = "/etc/transcription/ca"
CA_BUNDLE_FILE = "ca.crt"

SCRATCH_VOLUME = "scratch"
CACHE_VOLUME = "cache"
MODEL_VOLUME = "model"
SHARED_MEMORY_VOLUME = "shared-memory"
CA_BUNDLE_VOLUME = "ca-bundle"

HTTP_PORT = 8080
HTTP_PORT_NAME = "http"
LISTEN_ADDRESS = f"0.0.0.0:{HTTP_PORT}"
READY_PATH = "/readyz"

RUN_AS = 65532
"""User and group of every container, and the group that volumes are given to; the `nonroot` of distroless images."""
GPU_RESOURCE = "nvidia.com/gpu"


class ExitCode(IntEnum):
    """What a pod can say with its end. Codes that are not here count as a lost attempt, as RETRYABLE does."""

    OK = 0
    INVALID_MANIFEST = 2
    RETRYABLE = 75
    CONFIGURATION = 78
    """EX_CONFIG of sysexits.h: no attempt can succeed before a person changes something."""
    DRAINED = 143


FATAL_EXIT_CODES = (ExitCode.INVALID_MANIFEST, ExitCode.CONFIGURATION)
"""In ascending order, as the API server wants them: with these the whole Job fails at once."""
