"""Model archives that mean harm, built when asked for; and a judge for them in a process of limited memory.

`python -m tests.chaos.hostile_archives LIMIT_BYTES FILE...` checks and unpacks each file as the worker does, and prints
one JSON object per file: what was said, how long it took.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import resource
import struct
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from transcription_worker.errors import ConfigurationError
from transcription_worker.nemo_archive import WEIGHTS, check_archive, unpack
from transcription_worker.nemo_config import CONFIG

Parts = dict[str, bytes]
BLOCK = 512


def parts_of(model: Path) -> Parts:
    """Every file of an archive."""
    found: Parts = {}
    with tarfile.open(model) as tar:
        for member in tar:
            stream = tar.extractfile(member)
            if stream is not None:
                found[member.name.removeprefix("./")] = stream.read()
    return found


def reconfigured(parts: Parts, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The archive with its configuration changed by `change`."""
    config = yaml.safe_load(parts[CONFIG])
    change(config)
    return archive({**parts, CONFIG: yaml.safe_dump(config).encode()})


def archive(parts: Parts, *more: tuple[tarfile.TarInfo, bytes], format: int = tarfile.GNU_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name, body in parts.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
        for member, body in more:
            tar.addfile(member, io.BytesIO(body))
    return buffer.getvalue()


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """One header that says what it likes of the size that follows; negative ones too, in base 256."""
    member = tarfile.TarInfo(name)
    member.type = kind
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = (size & (1 << 96) - 1).to_bytes(12, "big") if size < 0 else b"\x80" + size.to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def before_the_end(body: bytes, more: bytes) -> bytes:
    """`more` in place of the zeros that close an archive."""
    return body.rstrip(b"\0").ljust(-(-len(body.rstrip(b"\0")) // BLOCK) * BLOCK, b"\0") + more + bytes(2 * BLOCK)


@cache
def zeros_as_gzip() -> bytes:
    """A quarter of a gigabyte as a gzip member, which can stand behind another one any number of times."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=6) as file:
        for _ in range(256):
            file.write(bytes(1 << 20))
    return buffer.getvalue()


def bomb_of(kind: bytes, parts: Parts) -> bytes:
    """An extended header of two gigabytes in two megabytes of gzip: the tar library would read it as one."""
    head = archive(parts)
    head = before_the_end(head, b"")[: -2 * BLOCK] + header("x", 2 << 30, kind)
    return gzip.compress(head) + zeros_as_gzip() * 8


def weights(*entries: tuple[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as zipped:
        for name, body in entries:
            zipped.writestr(name, body)
    return buffer.getvalue()


def sparse(name: str) -> bytes:
    """An old GNU sparse member: a terabyte in one block."""
    block = bytearray(header(name, 0, tarfile.GNUTYPE_SPARSE))
    block[386:398] = b"%011o\0" % 0
    block[483:495] = b"\x80" + (1 << 40).to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def bombs(model: Path) -> Iterator[tuple[str, bytes]]:
    """Archives that ask for memory, disk or time."""
    parts = parts_of(model)
    whole = archive(parts)
    for word, kind in {"long name": b"L", "long link": b"K", "pax": b"x", "global pax": b"g", "Solaris": b"X"}.items():
        yield f"a {word} of 2 GiB", bomb_of(kind, parts)
    yield "a member of 100 GiB that is not there", before_the_end(whole, header("big", 100 << 30))
    yield "a member of 100 GiB as gzip", gzip.compress(before_the_end(whole, header("big", 100 << 30)))
    yield "a member of an exabyte", before_the_end(whole, header("big", 1 << 60))
    yield "a member of negative size", before_the_end(whole, header("back", -len(whole)))
    yield "members that go round in circles", before_the_end(whole, header("round", -BLOCK) * 3)
    yield "a sparse terabyte", before_the_end(whole, sparse("big"))
    yield "100,000 members", before_the_end(whole, b"".join(header(f"m{n}", 0) for n in range(100_000)))
    yield (
        "100,000 folders",
        before_the_end(whole, b"".join(header(f"m{n}", 0, tarfile.DIRTYPE) for n in range(100_000))),
    )
    yield "2 GiB of weights as gzip", gzip.compress(header(WEIGHTS, 2 << 30)) + zeros_as_gzip() * 8
    yield "folders in folders", archive({**parts, "/".join("d" * 2_000): b""})
    yield "a name of 1,000 bytes", archive({**parts, "n" * 1_000: b""})
    yield "a file inside a file", archive({**parts, f"{CONFIG}/x": b""})
    for name, text in YAML.items():
        yield f"YAML: {name}", archive({**parts, CONFIG: parts[CONFIG] + text})
    for name, body in {
        "an index of 256 MiB": weights(("a/data.pkl", bytes(1 << 28))),
        "an index that lies about its size": _lying(weights(("a/data.pkl", bytes(64 << 20)))),
        "an index of 8 MiB of nothing": weights(("a/data.pkl", b"(" * (8 << 20))),
        "a number of 20 million digits": weights(("a/data.pkl", b"L" + b"9" * 20_000_000 + b"L\n.")),
        "a string of 4 GiB": weights(("a/data.pkl", b"\x8d" + struct.pack("<Q", 1 << 32) + b".")),
        "an index in bzip2": weights(("a/data.pkl", bytes(1 << 28)), compression=zipfile.ZIP_BZIP2),
        "no zip": bytes(1 << 20),
    }.items():
        yield f"weights: {name}", archive({**parts, WEIGHTS: body})


YAML = {
    "a number of a million places": b"n: 1" + b":1" * 1_000_000 + b"\n",
    "a number of 5,000 digits": b"n: " + b"9" * 5_000 + b"\n",
    "a float out of range": b"n: 1" + b":1" * 200 + b".5\n",
    "a day that is none": b"n: 2001-99-99\n",
    "lists in lists": b"n: " + b"[" * 100_000 + b"\n",
    "maps in maps": b"".join(b" " * n + b"a:\n" for n in range(3_000)),
    "aliases that multiply": b"".join(
        b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10) if n else b"x") for n in range(12)
    ),
    "a list within itself": b"n: &n [*n]\n",
    "17 MB": b"n: " + b"x" * (17 << 20) + b"\n",
    "a million values": b"n: [" + b"1," * 1_000_000 + b"]\n",
    "control characters": b"n: \x00\x1b[2J\n",
    "a key that is a list": b"? [a]\n: b\n",
    "a set": b"n: !!set {a, b}\n",
    "binary": b"n: !!binary '" + b"A" * 1_000 + b"=='\n",
}


def _lying(zipped: bytes) -> bytes:
    """The same zip, whose directory declares a thousand bytes."""
    at = zipped.index(b"PK\x01\x02")
    return zipped[: at + 24] + struct.pack("<I", 1_000) + zipped[at + 28 :]


def compressed(body: bytes) -> dict[str, bytes]:
    return {
        "tar": body,
        "gz": gzip.compress(body, 1),
        "bz2": bz2.compress(body, 1),
        "xz": lzma.compress(body, preset=0),
    }


def main() -> None:
    limit = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for name in sys.argv[2:]:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                check_archive(Path(name))
                unpack(Path(name), Path(folder))
                said, kind = "", "passed"
            except ConfigurationError as error:
                said, kind = str(error), "refused"
            except BaseException as error:
                said, kind = repr(error), "fault"
            size = sum(path.stat().st_size for path in Path(folder).rglob("*"))
        found = {"file": name, "kind": kind, "said": said, "seconds": time.monotonic() - started, "unpacked": size}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
