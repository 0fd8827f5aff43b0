"""Curator's NeMo adapter for a .nemo on disk; its own knows names of a hub only. Ray's workers import it by name."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from nemo.collections.asr.models import ASRModel
from nemo_curator.models.asr.nemo_asr import NeMoASRAdapter


@dataclass
class LocalAdapter(NeMoASRAdapter):
    """`model_id` is a path; each batch notes when it began and ended (seconds of the epoch) in a file of `times`."""

    times: str = ""

    def download_weights_on_node(self) -> None:
        """It is there."""

    def _load_checkpoint(self, device: Any) -> Any:
        torch.set_num_threads(1)  # one worker per core, as Curator scales the stage
        return ASRModel.restore_from(self.model_id, map_location=device).eval()

    def transcribe_batch(self, items: list[dict[str, Any]]) -> Any:
        begun = time.time()
        results = super().transcribe_batch(items)
        with (Path(self.times) / f"{os.getpid()}.jsonl").open("a") as file:
            file.write(json.dumps([begun, time.time()]) + "\n")
        return results
