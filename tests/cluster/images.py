"""The images of the test cluster: `pause`, `busybox` and `hostbind`, made from this machine's files at every start.

`hostbind` is a shell of an image: links, and a few files of /etc, around folders that a pod mounts read-only from the
node: /usr, the Python interpreter and the virtual environment. The worker's environment has several gigabytes; it needs
no image that way, and what runs in the pod is the checkout itself.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.oci import Entry, write_image

PAUSE = "registry.local/pause:3.10"
BUSYBOX = "registry.local/busybox:1"
HOSTBIND = "registry.local/hostbind:1"

_BUSYBOX_PROGRAM = Path("/usr/bin/busybox")
_PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"
_WAIT_AND_REAP = "trap 'exit 0' INT TERM; while :; do sleep 2147483647 & wait; done"
_MERGED_USR = ("bin", "lib", "lib32", "lib64", "sbin")
_DYNAMIC_LINKING = ("ld.so.cache", "group", "passwd", "nsswitch.conf", "mime.types")


def write_images(folder: Path) -> None:
    """Write one archive for each image into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    busybox = list(_busybox())
    write_image(folder / "pause.tar", PAUSE, busybox, entrypoint=["/bin/sh", "-c", _WAIT_AND_REAP])
    write_image(folder / "busybox.tar", BUSYBOX, busybox, command=["sh"])
    write_image(folder / "hostbind.tar", HOSTBIND, _hostbind(), command=["sh"])


def _busybox() -> Iterator[Entry]:
    yield from (Entry("bin"), Entry("etc"), Entry("tmp", mode=0o1777), Entry("etc/passwd", _PASSWD, mode=0o644))
    yield Entry("bin/busybox", _BUSYBOX_PROGRAM.read_bytes())
    applets = subprocess.run([_BUSYBOX_PROGRAM, "--list"], check=True, capture_output=True, text=True).stdout.split()
    yield from (Entry(f"bin/{applet}", link="busybox") for applet in applets if applet != "busybox")


def _hostbind() -> Iterator[Entry]:
    yield from (Entry("usr"), Entry("etc"), Entry("etc/alternatives"), Entry("tmp", mode=0o1777))
    yield from (Entry(name, link=f"usr/{name}") for name in _MERGED_USR if Path("/usr", name).is_dir())
    for name in _DYNAMIC_LINKING:
        file = Path("/etc", name)
        if file.exists():
            yield Entry(f"etc/{name}", file.read_bytes(), mode=0o644)
    links = (path for path in Path("/etc/alternatives").iterdir() if path.is_symlink())
    for path in sorted(links):
        yield Entry(f"etc/alternatives/{path.name}", link=str(path.readlink()))
