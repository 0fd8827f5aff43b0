"""`python -m transcription_worker`: the container's entry point without an installed script."""

from transcription_worker.cli import worker_main

raise SystemExit(worker_main())
