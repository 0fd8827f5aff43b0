"""Build the project's images without a registry: buildah on a Debian root file system, into .tools/images/*.tar.

    python -m scripts.build_images [operator | worker]

Where a registry can be reached, `docker build -f operator/Dockerfile .` does the same from a stock Python image. This
script is for machines that have only Debian's mirror and a Python index: both are those that apt and pip are set up
to use here. An archive is built again only when something that goes into it has changed. Needs root.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / ".tools" / "images"
REGISTRY = "registry.local"
"""Stands where a registry would: a name without one would mean a public registry to every container runtime."""
SUITE = "bookworm"
BASE_PACKAGES = "python3,python3-venv"
BASE = f"localhost/python-base:{SUITE}-bare"
UNWANTED = ("dev/*", "var/cache/apt", "var/lib/apt/lists", "var/log/*", "etc/apt/sources.list")
"""What debootstrap leaves that is this machine's: devices, its mirror, its log."""
PARTS = ("operator", "worker")
PIP_SETTINGS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_CERT")
SOURCES = ("crds", "pyproject.toml", "README.md", ".dockerignore")
"""What both images are made of, besides the part's own folder and its locked versions."""


class BuildError(Exception):
    """The image cannot be built here; the message says what is missing."""


def image_name(part: str) -> str:
    """The name under which an archive's image appears in a container runtime that imports it."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return f"{REGISTRY}/transcription-{part}:{version}"


def archive(part: str) -> Path:
    """Where the OCI archive of a part lies; `ctr images import` reads it."""
    return IMAGES / f"transcription-{part}.tar"


def build(part: str) -> Path:
    """The current archive of a part, built where it is missing or stale (operator: about a minute).

    Raises:
        BuildError: not root, or a tool is missing, or a step failed.
    """
    with _alone():
        target, key_file, key = archive(part), IMAGES / f"transcription-{part}.key", _key(part)
        if not (target.is_file() and key_file.is_file() and key_file.read_text() == key):
            _require_tools()
            _log().unlink(missing_ok=True)
            _build(part, target)
            key_file.write_text(key)
    return target


def _build(part: str, target: Path) -> None:
    base = _base_image()
    name = image_name(part)
    print(f"building {name}; the log is {_log().relative_to(ROOT)}", file=sys.stderr)
    arguments = {"BASE": base, **{setting: os.environ[setting] for setting in PIP_SETTINGS if setting in os.environ}}
    _buildah(
        "build",
        "--isolation=chroot",
        *(f"--build-arg={key}={value}" for key, value in arguments.items()),
        *_certificate_volume(arguments),
        f"--file={part}/Dockerfile",
        f"--tag={name}",
        ".",
    )
    unfinished = target.with_suffix(".part")
    unfinished.unlink(missing_ok=True)
    _buildah("push", "--quiet", name, f"oci-archive:{unfinished}:{name}")
    unfinished.replace(target)
    _buildah("rmi", "--prune")


def _base_image() -> str:
    """An image of Debian's minimal root file system with Python; kept for the next build."""
    if _buildah("images", "--quiet", BASE, check=False).strip():
        return BASE
    root = IMAGES / "base"
    shutil.rmtree(root, ignore_errors=True)
    _run("debootstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", SUITE, str(root), _apt_mirror())
    for path in (path for pattern in UNWANTED for path in root.glob(pattern)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    container = _buildah("from", "scratch").strip()
    try:
        _buildah("add", "--quiet", container, str(root), "/")
        _buildah("commit", "--quiet", container, BASE)
    finally:
        _buildah("rm", container)
        shutil.rmtree(root)
    return BASE


def _apt_mirror() -> str:
    """The mirror of the suite that apt uses on this machine."""
    sites = _run(
        "apt-get", "indextargets", "--format", "$(SITE)", f"Codename: {SUITE}", "Created-By: Packages", capture=True
    ).split()
    if not sites:
        raise BuildError(f"apt knows no mirror of Debian {SUITE}: run this on Debian {SUITE}, or use docker build.")
    return sites[0]


def _certificate_volume(arguments: Mapping[str, str]) -> Iterator[str]:
    """An index behind a private authority: pip in the build sees the same file of certificates as pip here."""
    if certificate := arguments.get("PIP_CERT"):
        yield f"--volume={certificate}:{certificate}:ro"


def _key(part: str) -> str:
    """Changes with everything that goes into the image."""
    digest = hashlib.sha256(f"{image_name(part)} {BASE} {BASE_PACKAGES} {UNWANTED}".encode())
    for name in (*SOURCES, part, f"requirements-{part}.txt"):
        path = ROOT / name
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        for file in files:
            if "__pycache__" not in file.parts:
                digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _require_tools() -> None:
    if os.geteuid() != 0:
        raise BuildError("Images are built as root here: run this as root, or use docker build.")
    missing = [tool for tool in ("buildah", "debootstrap", "apt-get") if shutil.which(tool) is None]
    if missing:
        raise BuildError(
            f"{' and '.join(missing)} missing: run scripts/system-packages.sh cluster, or use docker build."
        )


def _buildah(*arguments: str, check: bool = True) -> str:
    """Storage of its own below .tools, so that nothing of the machine's containers is touched."""
    storage = (f"--root={IMAGES / 'storage'}", f"--runroot={IMAGES / 'run'}", "--storage-driver=vfs")
    return _run("buildah", *storage, *arguments, capture=arguments[0] in ("from", "images"), check=check)


def _run(*command: str, capture: bool = False, check: bool = True) -> str:
    """What a command printed, if asked for; everything else goes to the log."""
    with _log().open("ab") as log:
        output = subprocess.PIPE if capture else log
        done = subprocess.run(command, cwd=ROOT, stdout=output, stderr=log, text=True, check=False)
    if check and done.returncode != 0:
        sentence = f"{command[0]} failed with exit code {done.returncode}; {_log()} ends with:"
        raise BuildError("\n".join([sentence, *_log().read_text().splitlines()[-20:]]))
    return done.stdout or ""


def _log() -> Path:
    return IMAGES / "build.log"


@contextmanager
def _alone() -> Iterator[None]:
    """One build at a time: buildah's storage takes many, but the archives are ours."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with (IMAGES / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 where the image could not be built."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=PARTS, default="operator")
    part = parser.parse_args(arguments).part
    try:
        print(f"{image_name(part)}: {build(part).relative_to(ROOT)}")
    except BuildError as error:
        print(f"build_images: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
