"""Curator's own pipeline: manifest -> durations -> ASR -> manifest, streamed by Xenna. Runs in its own environment."""

from __future__ import annotations

import argparse

from nemo_curator.backends.xenna import XennaExecutor
from nemo_curator.core.client import RayClient
from nemo_curator.pipeline import Pipeline
from nemo_curator.stages.audio.common import GetAudioDurationStage, ManifestReader, ManifestWriterStage
from nemo_curator.stages.audio.inference.asr.stage import ASRStage
from nemo_curator.stages.resources import Resources

LOGICAL_CPUS = 8
"""With as many as there are here, two, Xenna refuses to stream."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("manifest", "output", "model", "times", "temporary"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--batch-size", type=int, default=16)
    args = parser.parse_args()
    ray = RayClient(
        num_cpus=LOGICAL_CPUS, include_dashboard=False, ray_temp_dir=args.temporary, object_store_memory=1 << 30
    )
    ray.start()
    try:
        pipeline = Pipeline(name="asr", description="speech to text")
        pipeline.add_stage(ManifestReader(args.manifest, files_per_partition=1))
        pipeline.add_stage(GetAudioDurationStage(duration_key="duration"))
        pipeline.add_stage(
            ASRStage(
                adapter_target="local_adapter.LocalAdapter",
                model_id=args.model,
                adapter_kwargs={"times": args.times},
                audio_filepath_key="audio_filepath",
                batch_size=args.batch_size,
                resources=Resources(cpus=1.0, gpus=0.0),
            )
        )
        pipeline.add_stage(ManifestWriterStage(args.output))
        pipeline.run(XennaExecutor(config={"execution_mode": "streaming"}))
    finally:
        ray.stop()


if __name__ == "__main__":
    main()
