"""Audio files to streams of float32 samples, in child processes.

`Decoder` is what the pipeline uses. Everything else in this package but `decoder`, `process`, `wire` and `request`
runs in the child only, where a hostile file can do no more harm than end that child.
"""

from transcription_worker.decode.decoder import DecodedStream, Decoder
from transcription_worker.decode.request import AudioInfo, Channels, DecodeRequest

__all__ = ["AudioInfo", "Channels", "DecodeRequest", "DecodedStream", "Decoder"]
