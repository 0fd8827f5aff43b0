"""The frames between `Decoder` and its child: one byte of kind, four of length (big-endian), the body.

A pipe holds 64 or 256 KiB: a child whose parent does not read stops in its write, which is all the flow control there
is.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import IO

HEADER = struct.Struct(">cI")
MAX_BODY_BYTES = 1 << 24
"""No honest frame is larger; a length above it means that the other side has lost its mind."""


class Kind(Enum):
    """What a frame carries. DECODE goes to the child, the others come from it."""

    DECODE = b"D"
    """A DecodeRequest as JSON."""
    INFO = b"I"
    """`{"info": AudioInfo, "channels": n}`; n is the number of output channels. Comes first."""
    AUDIO = b"A"
    """float32 in native byte order, shape [channels, n], channel after channel."""
    END = b"E"
    """`{"seconds": s}`: the recording is over and whole."""
    ERROR = b"X"
    """`{"reason": Reason, "message": sentence}`: the recording is over."""


def write_frame(stream: IO[bytes], kind: Kind, body: bytes | memoryview) -> None:
    stream.write(HEADER.pack(kind.value, len(body)))
    stream.write(body)
    stream.flush()


def read_frame(stream: IO[bytes]) -> tuple[Kind, bytes] | None:
    """The next frame, or None at the end of the stream (also inside a frame: the writer is gone)."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    kind, length = HEADER.unpack(header)
    body = stream.read(length)
    return (Kind(kind), body) if len(body) == length else None
