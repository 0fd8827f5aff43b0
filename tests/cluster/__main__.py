"""The command line of the test cluster: `python -m tests.cluster up|down|status|build [PROGRAM...]|load ARCHIVE`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.cluster.build import PROGRAMS, build
from tests.cluster.errors import ClusterError
from tests.cluster.layout import BIN, Layout
from tests.cluster.lifecycle import fault, load_image, start, stop


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description="A real Kubernetes for tests.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start the cluster, or say that it runs; prints the export of KUBECONFIG")
    commands.add_parser("down", help="stop the cluster and remove all of it but the logs")
    commands.add_parser("status", help="exit 0 when it runs and is healthy; otherwise say why not and exit 1")
    programs = commands.add_parser("build", help=f"build programs into {BIN}; all without a name")
    programs.add_argument("program", nargs="*", metavar="PROGRAM", help=", ".join(PROGRAMS))
    load = commands.add_parser("load", help="import an image archive into the running cluster")
    load.add_argument("archive", type=Path)
    arguments = parser.parse_args()
    layout = Layout()
    try:
        if arguments.command == "up":
            start(layout)
            print(f"export KUBECONFIG={layout.kubeconfig}")
        elif arguments.command == "down":
            stop(layout)
        elif arguments.command == "build":
            build(*arguments.program)
        elif arguments.command == "load":
            load_image(arguments.archive)
        elif (reason := fault(layout)) is not None:
            print(f"The test cluster is not healthy: {reason}.", file=sys.stderr)
            return 1
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
