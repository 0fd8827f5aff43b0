"""`transcription-operator`: settings from the environment, then kopf until SIGTERM."""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from transcription_operator import __version__
from transcription_operator.config import ConfigError, read_config

EX_CONFIG = 78
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
"""As the worker's, so that the logs of both can be read together."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the operator; every setting is an environment variable of `Config`."""
    parser = argparse.ArgumentParser(
        prog="transcription-operator", description="Turns TranscriptionJobs into Kubernetes Jobs."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.parse_args(argv)
    try:
        config = read_config(os.environ)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EX_CONFIG

    import kopf

    from transcription_operator.handlers import register
    from transcription_operator.kube import Kube, KubeError, Unavailable
    from transcription_operator.operation import Operation
    from transcription_operator.reach import out_of_reach_at_start

    left_out: Mapping[str, str] = {}
    try:
        kube = Kube()
        if not kube.serves_transcription_jobs():
            print("The API server has no TranscriptionJobs: install crds/ or set crds.enabled.", file=sys.stderr)
            return EX_CONFIG
        left_out = out_of_reach_at_start(kube, config.namespaces)
    except Unavailable:
        pass  # kopf waits for it
    except KubeError as error:
        print(error, file=sys.stderr)
        return EX_CONFIG
    config = replace(config, namespaces=tuple(one for one in config.namespaces if one not in left_out))
    log_format: Any = kopf.LogFormat.JSON if config.log_format == "json" else LOG_FORMAT  # typed without the text
    kopf.configure(log_format=log_format)
    logging.getLogger("kopf").setLevel(logging.WARNING)
    registry = kopf.OperatorRegistry()
    register(registry, Operation(config, left_out))
    kopf.run(
        registry=registry,
        identity=cast(Any, f"{socket.gethostname()}/{os.getpid()}"),  # kopf asks for a user name, and there may be none
        standalone=True,
        clusterwide=not config.namespaces,
        namespaces=config.namespaces,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
