"""The model's failures, contained: a batch that does not fit is halved, one bad input costs only itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from transcription_worker.engines.protocol import Engine, OutOfMemory, Recognition, Samples
from transcription_worker.errors import Reason, RecordingError, RetryableError

log = logging.getLogger(__name__)


def infer(
    engine: Engine, batch: Sequence[Samples], did_not_fit: Callable[[], None] = lambda: None
) -> list[Recognition | RecordingError]:
    """Transcribe a batch: one result or one error per input, in order; never raises for an input's sake.

    Args:
        did_not_fit: called once where the batch had to be divided for want of memory.

    Raises:
        RetryableError: the device failed; the process must start again.
    """
    try:
        results = engine.transcribe(batch)
    except OutOfMemory as error:
        if len(batch) == 1:
            seconds = len(batch[0]) / engine.sample_rate
            return [
                RecordingError(
                    Reason.OUT_OF_MEMORY,
                    f"one segment of {seconds:.0f} s does not fit the device ({error}): lower "
                    "spec.transcription.maxSegmentSeconds or take a larger device.",
                )
            ]
        log.warning("out of memory with %d segments: the batch is halved", len(batch))
        did_not_fit()
    except RetryableError:
        raise  # the device itself failed: only a new process helps
    except Exception as error:
        if len(batch) == 1:
            return [RecordingError(Reason.MODEL_ERROR, f"the model failed: {type(error).__name__}: {error}")]
        log.warning("the model failed on a batch of %d (%s): it is split", len(batch), error)
    else:
        if len(results) != len(batch):
            message = f"the engine gave {len(results)} results for {len(batch)} inputs"
            return [RecordingError(Reason.MODEL_ERROR, message) for _ in batch]
        return list(results)
    middle = len(batch) // 2
    return infer(engine, batch[:middle]) + infer(engine, batch[middle:])
