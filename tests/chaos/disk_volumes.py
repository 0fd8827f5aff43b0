"""Small real file systems that can be filled, frozen and made read-only, in a mount namespace of their own.

Whoever runs this is started by `unshare --mount` (`in_own_namespace`): what is mounted here is seen by nobody else, and
goes with the last process of the namespace, however that ends. Needs root on Linux.

What the kernel must have for a fault is asked of the kernel: `reason_without` says in a sentence why a fault cannot be
had here. There is no dm-delay in every kernel; a disk that stands still is made by freezing its file system
(ioctl_fifreeze(2)), one whose writes are slow by a throttle on its block device (cgroup v1, blkio).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MARK = "CHAOS_DISK_NAMESPACE"
MIB = 1 << 20
LOST_AND_FOUND = "lost+found"
"""Of mkfs and fsck; nobody's left-over."""
BLKIO = Path("/sys/fs/cgroup/blkio")


def in_own_namespace(arguments: Sequence[str]) -> list[str]:
    """The command line that runs a module of Python with mounts of its own."""
    return ["unshare", "--mount", "--propagation", "private", "env", f"{MARK}=1", sys.executable, "-m", *arguments]


def reason_without(need: str) -> str | None:
    """Why `need` (root, ext4, quota, throttle) cannot be had on this machine; None where it can."""
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("unshare") is None:
        return "small file systems are mounted by root on Linux"
    if need == "ext4" and shutil.which("mkfs.ext4") is None:
        return "there is no mkfs.ext4 (e2fsprogs)"
    if need == "quota" and shutil.which("mkfs.btrfs") is None:
        return "a quota is tried with btrfs, and there is no mkfs.btrfs (btrfs-progs)"
    if need == "throttle" and not (BLKIO / "blkio.throttle.write_bps_device").exists():
        return "the kernel offers no blkio throttle of cgroup v1"
    return None


@dataclass(frozen=True)
class Volume:
    """One mounted file system."""

    path: Path

    def free(self) -> int:
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def fill(self, leave: int = 0) -> Path:
        """Take all room but `leave` bytes; returns the file that does, which lies beside what the worker uses."""
        ballast = self.path / "ballast"
        size = max(0, self.free() - leave)
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size) if size else None
        return ballast

    def take_inodes(self) -> Path:
        """Take every inode that is left; returns the folder that holds them."""
        folder = self.path / "inodes"
        folder.mkdir()
        try:
            for number in range(1 << 20):
                (folder / str(number)).touch()
        except OSError:
            return folder
        raise AssertionError(f"{self.path} has no bound on its inodes")

    def enlarge(self, size: int) -> None:
        """Of a tmpfs."""
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.path)], check=True, capture_output=True)

    def break_down(self) -> None:
        """As the kernel does that finds a damaged ext4: read-only from now on, also for files that are open."""
        (Path("/sys/fs/ext4") / self._device / "trigger_fs_error").write_text("found by the test")

    def repair(self) -> None:
        """What an administrator does then. Nobody may have a file open here."""
        device = f"/dev/{self._device}"
        subprocess.run(["umount", str(self.path)], check=True, capture_output=True)
        checked = subprocess.run(["fsck.ext4", "-fy", device], check=False, capture_output=True, text=True)
        if checked.returncode > 2:
            raise AssertionError(f"fsck.ext4 ended with {checked.returncode}: {checked.stderr}")
        subprocess.run(["mount", device, str(self.path)], check=True, capture_output=True)
        (self.path / LOST_AND_FOUND).rmdir()

    @property
    def _device(self) -> str:
        number = self.path.stat().st_dev
        return Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve().name

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """No write comes to an end meanwhile, as on a disk that does not answer."""
        subprocess.run(["fsfreeze", "--freeze", str(self.path)], check=True)
        try:
            yield
        finally:
            subprocess.run(["fsfreeze", "--unfreeze", str(self.path)], check=True)


@contextmanager
def memory(path: Path, size: int, *, inodes: int | None = None) -> Iterator[Volume]:
    """A tmpfs of so many bytes."""
    options = f"size={size}" + (f",nr_inodes={inodes}" if inodes else "")
    with _mounted(path, "-t", "tmpfs", "-o", options, "chaos"):
        yield Volume(path)


@contextmanager
def disk(path: Path, size: int, *, kind: str = "ext4") -> Iterator[Volume]:
    """A file system on a block device of its own (a loop device)."""
    image = path.with_name(f"{path.name}.image")
    with image.open("wb") as file:
        file.truncate(size)
    options = ["-q", "-e", "remount-ro"] if kind == "ext4" else ["-q"]
    device = ""
    try:
        subprocess.run([f"mkfs.{kind}", *options, str(image)], check=True, capture_output=True)
        found = subprocess.run(["losetup", "--find", "--show", str(image)], check=True, capture_output=True, text=True)
        device = found.stdout.strip()
        with _mounted(path, device):
            if kind == "ext4":
                (path / LOST_AND_FOUND).rmdir()
            yield Volume(path)
    finally:
        if device:
            subprocess.run(["losetup", "--detach", device], check=True)
        image.unlink()


@contextmanager
def throttled(volume: Volume, bytes_per_second: int, pids: Sequence[int]) -> Iterator[None]:
    """Writes of these processes to the volume's device are this slow, fsync(2) above all."""
    group = BLKIO / f"chaos-{os.getpid()}"
    device = volume.path.stat().st_dev
    group.mkdir()
    try:
        (group / "blkio.throttle.write_bps_device").write_text(
            f"{os.major(device)}:{os.minor(device)} {bytes_per_second}"
        )
        for pid in pids:
            (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        for left in (group / "cgroup.procs").read_text().split():
            (BLKIO / "cgroup.procs").write_text(left)
        group.rmdir()


@contextmanager
def _mounted(path: Path, *arguments: str) -> Iterator[None]:
    if MARK not in os.environ:
        raise AssertionError("this would mount for the whole machine: start it by in_own_namespace")
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", *arguments, str(path)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
