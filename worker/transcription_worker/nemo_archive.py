"""What a .nemo file says it is, found out without running any of it. Loading it is in `engines/`.

A .nemo is a tar of `model_config.yaml`, `model_weights.ckpt` (a zip of torch's with one pickle inside) and the
tokenizer's files. Each of the three can ask for code: a path that leaves the directory, a `_target_` in the
configuration, a global in the pickle. They are read as data here, the configuration in `nemo_config.py`, and what asks
is refused. NeMo and torch check again when they load (`_target_` prefixes, `weights_only`); this check comes first, in
milliseconds, and needs neither.
"""

from __future__ import annotations

import io
import lzma
import os
import pickletools
import re
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Self

from transcription_worker.nemo_config import CONFIG, MAX_BYTES, ArchiveInfo, describe, read_config, refuse, short

WEIGHTS = "model_weights.ckpt"

MAX_MEMBERS = 10_000
MAX_UNPACKED_BYTES = 128 << 30
MAX_GROWTH, FREE_GROWTH_BYTES = 20, 64 << 20
"""A compressed archive may unpack to so many times its size, or to so many bytes where that is more. Weights hardly
compress; a bomb does a thousandfold, and would have to be unpacked to be walked."""
MAX_HEADER_BYTES = 1 << 20
"""Of a member's extended header (long names, pax records), which the tar library reads into memory as one."""
MAX_PATH_PARTS, MAX_NAME_BYTES = 16, 255
MAX_PICKLE_BYTES = 32 << 20
"""Of the index of the tensors; one of a few thousand takes a megabyte."""

EXTENDED_HEADERS = frozenset(
    {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE}
)
DAMAGED = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError, ValueError)
"""What reading a broken archive raises, compressed or not."""

GLOBALS = re.compile(
    r"collections OrderedDict|_codecs encode|torch (Size|device|bfloat16|float\d+|u?int\d+|bool|\w+Storage)"
    r"|torch\.storage (Untyped|Typed)Storage|torch\._utils _rebuild_(tensor(_v2)?|parameter)"
    r"|torch\.serialization _get_layout"
)
"""What rebuilding a dictionary of tensors takes."""

OPCODES_WITH_CODE = {"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4", "PERSID"}
"""Opcodes that torch.save never writes into a state dict and that name a callable in ways a scan cannot follow."""


class _Member(tarfile.TarInfo):
    """A member whose extended header is no larger than a header can be."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)
        if member.type in EXTENDED_HEADERS and member.size > MAX_HEADER_BYTES:
            raise tarfile.TarError(f"a header of {member.size} bytes")
        return member


def check_archive(path: Path) -> ArchiveInfo:
    """Read a .nemo as data.

    Raises:
        ConfigurationError: it is missing, not a .nemo, damaged, not a speech model that the engine knows, or it asks
            for code to be run; one sentence.
    """
    with _opened(path) as tar:
        members = _members(tar, path)
        body = _chunk(_read(tar, members[CONFIG], path), MAX_BYTES + 1, path)
        config = read_config(body, path, members.keys())
        _check_weights(_read(tar, members[WEIGHTS], path), path)
        return describe(config, path)


def check_header(path: Path) -> None:
    """The cheapest part of `check_archive`: that the file may be read and begins as a tar does. Raises as it does."""
    _opened(path).close()


@dataclass(frozen=True, slots=True)
class Weights:
    """Where a checkpoint of torch lies: `size` bytes of that file from this one on, all the rest where it is None."""

    file: Path
    offset: int = 0
    size: int | None = None


def unpack(path: Path, directory: Path) -> Weights:
    """Unpack a checked .nemo into `directory`, which exists and is empty.

    The weights stay where they are in an archive that is not compressed, as NeMo writes them: they can be mapped from
    there, and gigabytes need not be written first.

    Raises:
        ConfigurationError: the archive is damaged.
        OSError: the disk.
    """
    weights = Weights(directory / WEIGHTS)
    with _opened(path) as tar:
        compressed = not isinstance(tar.fileobj, io.BufferedReader)
        for name, member in _members(tar, path).items():
            if name == WEIGHTS and not compressed:
                weights = Weights(path, member.offset_data, member.size)
                continue
            place = directory / name
            place.parent.mkdir(parents=True, exist_ok=True)
            with _read(tar, member, path) as source, place.open("xb") as target:
                while chunk := _chunk(source, 1 << 20, path):
                    target.write(chunk)
    return weights


def _opened(path: Path) -> tarfile.TarFile:
    try:
        if path.stat().st_size == 0:
            raise refuse(path, "is empty", "copy the model again")
        return tarfile.open(path, "r:*", tarinfo=_Member)
    except FileNotFoundError:
        raise refuse(path, "does not exist", "check the model's path and what is mounted there") from None
    except (IsADirectoryError, NotADirectoryError):
        raise refuse(path, "is not a file", "name the .nemo file itself") from None
    except PermissionError:
        raise refuse(path, "may not be read", "let this user read it") from None
    except DAMAGED as error:
        raise refuse(path, f"is not a .nemo archive ({short(error)})") from None


def _members(tar: tarfile.TarFile, path: Path) -> dict[str, tarfile.TarInfo]:
    """Relative name -> member; there are regular files only."""
    found: dict[str, tarfile.TarInfo] = {}
    total = count = 0
    most = min(MAX_UNPACKED_BYTES, max(FREE_GROWTH_BYTES, MAX_GROWTH * path.stat().st_size))
    try:
        for member in tar:
            count, total = count + 1, total + member.size
            if count > MAX_MEMBERS or total > most or member.size < 0:
                raise refuse(path, "would unpack to more than a model can be")
            if member.isdir():
                continue
            parts = PurePosixPath(member.name).parts
            if member.name.startswith("/") or ".." in parts or not parts:
                raise refuse(path, f"holds a file that would land outside its directory ({_name(member)})")
            if len(parts) > MAX_PATH_PARTS or any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in parts):
                raise refuse(path, f"holds a file whose name is longer than a file's can be ({_name(member)})")
            if not member.isreg() or member.issparse():
                raise refuse(path, f"holds something that is not a plain file ({_name(member)})")
            name = "/".join(parts)
            if name in found:
                raise refuse(path, f"holds {_name(member)} twice")
            found[name] = member
    except DAMAGED as error:
        raise _damage(path, error) from None
    for name, member in found.items():
        if any(str(folder) in found for folder in PurePosixPath(name).parents):
            raise refuse(path, f"holds a file inside what is a file itself ({_name(member)})")
    for name in (CONFIG, WEIGHTS):
        if name not in found:
            raise refuse(path, f"is an archive without {name}")
    return found


def _chunk(stream: IO[bytes], size: int, path: Path) -> bytes:
    try:
        return stream.read(size)
    except DAMAGED as error:
        raise _damage(path, error) from None


def _damage(path: Path, error: Exception) -> Exception:
    """What the archive is to blame for as a sentence; what the disk said (it has a number) as it is."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    return refuse(path, f"is cut short or damaged ({short(error)})", "copy the model again")


def _name(member: tarfile.TarInfo) -> str:
    """Quoted, and on one line."""
    return ascii(member.name if len(member.name) <= 200 else f"{member.name[:199]}...")


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> IO[bytes]:
    stream = tar.extractfile(member)
    if stream is None:
        raise refuse(path, f"holds something that is not a plain file ({_name(member)})")
    return stream


def _check_weights(stream: IO[bytes], path: Path) -> None:
    try:
        with zipfile.ZipFile(stream) as weights:
            names = weights.namelist()
            pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
            script = any(name.endswith("/constants.pkl") or "/code/" in name for name in names)
            # Tensors are mapped from the file as they lie there.
            packed = any(info.compress_type != zipfile.ZIP_STORED for info in weights.infolist())
            doubtful = len(pickles) != 1 or len(set(names)) != len(names) or not _begins_where_it_says(stream, weights)
            if doubtful or script or packed:
                raise refuse(path, f"has a {WEIGHTS} that is not a plain checkpoint of torch")
            if weights.getinfo(pickles[0]).file_size > MAX_PICKLE_BYTES:
                raise refuse(path, f"has a {WEIGHTS} whose index is too large to be one")
            body = weights.read(pickles[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, *DAMAGED) as error:
        raise refuse(path, f"has a {WEIGHTS} that is not a checkpoint of torch ({short(error)})") from None
    try:
        for opcode, argument, _ in pickletools.genops(body):
            if opcode.name in OPCODES_WITH_CODE or (opcode.name == "GLOBAL" and not GLOBALS.fullmatch(str(argument))):
                asked = f"{opcode.name} {argument or ''}".strip()
                raise refuse(path, f"asks for code in its {WEIGHTS} ({short(repr(asked))})", "do not use it")
    except ValueError as error:
        raise refuse(path, f"has a {WEIGHTS} that is damaged ({short(error)})", "copy the model again") from None


def _begins_where_it_says(stream: IO[bytes], weights: zipfile.ZipFile) -> bool:
    """Else it is another zip for torch, which believes the offsets that stand in it, while Python's reader reckons
    them from the end; or none, where it does not begin as one."""
    stream.seek(0)
    begins = stream.read(4) == b"PK\x03\x04"
    stream.seek(weights.start_dir + 42)
    return begins and int.from_bytes(stream.read(4), "little") == weights.infolist()[0].header_offset
