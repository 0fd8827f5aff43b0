"""A static scan of an image's archive: what its files and settings let somebody do, or give away. Free of pytest."""

from __future__ import annotations

import json
import re
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_CAPABILITIES = "SCHILY.xattr.security.capability"
_SCANNED_BYTES = 8 << 20
"""Of each file: what is longer is a library."""
_SECRETS = (
    ("a private key", b"PRIVATE KEY", rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s*[A-Za-z0-9+/=]{40}"),
    ("an access key", b"AKIA", rb"AKIA[0-9A-Z]{16}\b"),
    ("a temporary access key", b"ASIA", rb"ASIA[0-9A-Z]{16}\b"),
    ("a token of a code host", b"gh", rb"gh[pousr]_[A-Za-z0-9]{36}\b"),
    ("a token of a model hub", b"hf_", rb"hf_[A-Za-z]{34}\b"),
    ("a JSON web token", b"eyJhbGciOi", rb"eyJhbGciOi[\w-]{10,}\.eyJ[\w-]{20,}\.[\w-]{20,}"),
    ("a password in an address", b"@", rb"https?://[\w.%-]{1,64}:[^\s/@:\"'<>{}$]{1,64}@[\w-]+\.[\w.-]+"),
)
"""What it is, bytes without which it is not there (for speed), and how it reads."""
_SECRET_NAMES = {
    *(".git", ".ssh", ".aws", ".kube", ".docker", ".netrc", ".npmrc", ".pypirc", ".env", ".git-credentials"),
    *("pip.conf", "pip.ini", "id_rsa", "id_ed25519", "kubeconfig"),
}
_INSTALLERS = {
    *("pip", "setuptools", "wheel", "ensurepip", "uv", "conda", "npm", "apk", "apt", "apt-get", "dpkg", "yum", "dnf"),
    *("gcc", "cc", "make", "go", "git", "curl", "wget", "ssh", "scp", "nc", "ncat", "busybox"),
}
"""Programs, and Python packages, that bring in or make others."""
_INSTALLER_WHEEL = re.compile(r"(pip|setuptools|wheel)-[\d.]+.*\.(whl|dist-info)")
_SECRET_SETTING = re.compile(r"(?i)(pass|secret|token|credential|api_?key|index_url|pip_)")


@dataclass(frozen=True, slots=True)
class File:
    """One path of an image, without a leading slash. `mode` has the kind's bits, as in stat(2)."""

    path: str
    mode: int
    uid: int = 0
    gid: int = 0
    capabilities: bool = False
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Image:
    """What a container starts from: the layers laid over one another, and the settings, with each step of the build."""

    settings: dict[str, Any]
    steps: tuple[str, ...] = ()
    files: dict[str, File] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    check: str
    where: str


def read_image(archive: Path) -> Image:
    """The image of an OCI archive that holds one."""
    with tarfile.open(archive) as tar:

        def blob(digest: str) -> IO[bytes]:
            found = tar.extractfile(f"blobs/{digest.replace(':', '/')}")
            assert found is not None, f"{digest} is no file"
            return found

        index = tar.extractfile("index.json")
        assert index is not None
        (described,) = json.load(index)["manifests"]
        manifest = json.load(blob(described["digest"]))
        config = json.load(blob(manifest["config"]["digest"]))
        files: dict[str, File] = {}
        for layer in manifest["layers"]:
            with blob(layer["digest"]) as packed, tarfile.open(fileobj=packed, mode="r:*") as unpacked:
                lay(files, unpacked)
    steps = tuple(step.get("created_by", "") for step in config.get("history", ()))
    return Image(config["config"], steps, files)


def scan(image: Image, build_words: Iterable[str] = ()) -> list[Finding]:
    """All findings, in order. `build_words` are of the machine that built it, and have no business in the image."""
    found = [*_of_settings(image), *(finding for file in image.files.values() for finding in _of_file(file))]
    for word in build_words:
        said = json.dumps([image.settings, image.steps])
        found += [Finding("trace of the build", "settings")] if word in said else []
        found += [
            Finding("trace of the build", file.path) for file in image.files.values() if word.encode() in file.content
        ]
    return sorted(set(found))


def lay(files: dict[str, File], layer: tarfile.TarFile) -> None:
    """One more layer on top: its own paths, and without those that it takes away."""
    for member in layer:
        path = PurePosixPath(member.name)
        name, folder = path.name, str(path.parent)
        if name == _OPAQUE:
            _take_away(files, folder, itself=False)
        elif name.startswith(_WHITEOUT):
            _take_away(files, str(path.parent / name.removeprefix(_WHITEOUT)), itself=True)
        else:
            content = b""
            if member.isreg() and (opened := layer.extractfile(member)):
                content = opened.read(_SCANNED_BYTES)
            mode = _kind(member) | member.mode
            capabilities = _CAPABILITIES in member.pax_headers
            files[str(path)] = File(str(path), mode, member.uid, member.gid, capabilities, content)


def _take_away(files: dict[str, File], path: str, *, itself: bool) -> None:
    gone = [other for other in files if other.startswith(f"{path}/") or (itself and other == path)]
    for other in gone:
        del files[other]


def _kind(member: tarfile.TarInfo) -> int:
    kinds = {
        tarfile.DIRTYPE: stat.S_IFDIR,
        tarfile.SYMTYPE: stat.S_IFLNK,
        tarfile.CHRTYPE: stat.S_IFCHR,
        tarfile.BLKTYPE: stat.S_IFBLK,
        tarfile.FIFOTYPE: stat.S_IFIFO,
    }
    return kinds.get(member.type, stat.S_IFREG)


def _of_settings(image: Image) -> Iterator[Finding]:
    user, _, group = str(image.settings.get("User", "")).partition(":")
    if not (user.isdecimal() and group.isdecimal() and int(user) and int(group)):
        yield Finding("user is root, or none that Kubernetes can tell from root", "settings")
    for variable in image.settings.get("Env") or ():
        if _SECRET_SETTING.search(variable.partition("=")[0]):
            yield Finding("setting that could be a secret", variable.partition("=")[0])
    if image.settings.get("Volumes"):
        yield Finding("volume that is writable without being asked for", "settings")


def _of_file(file: File) -> Iterator[Finding]:
    name, folder = PurePosixPath(file.path).name, stat.S_ISDIR(file.mode)
    if stat.S_ISREG(file.mode) and file.mode & (stat.S_ISUID | stat.S_ISGID):
        yield Finding("runs with its owner's rights", file.path)
    if file.capabilities:
        yield Finding("runs with capabilities", file.path)
    sticky_folder = folder and file.mode & stat.S_ISVTX
    if file.mode & stat.S_IWOTH and not stat.S_ISLNK(file.mode) and not sticky_folder:
        yield Finding("anybody may write", file.path)
    if file.uid >= 1000 or file.gid >= 1000:
        yield Finding("belongs to somebody other than the system", file.path)
    if stat.S_ISCHR(file.mode) or stat.S_ISBLK(file.mode):
        yield Finding("is a device", file.path)
    if name in _SECRET_NAMES:
        yield Finding("could hold a secret", file.path)
    if _brings_in_more(file.path, name):
        yield Finding("brings in more", file.path)
    for what, needle, pattern in _SECRETS:
        if needle in file.content and re.search(pattern, file.content):
            yield Finding(f"holds {what}", file.path)


def _brings_in_more(path: str, name: str) -> bool:
    parent = PurePosixPath(path).parent.name
    listed = name in _INSTALLERS and parent in ("bin", "sbin", "site-packages", "dist-packages")
    return listed or _INSTALLER_WHEEL.fullmatch(name) is not None
