"""What is done to the disk of a job, and when. Each scene makes a volume, plays one job on it and says what it saw."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.disk_job import Moment, Played, Site
from tests.chaos.disk_volumes import MIB, disk, memory, throttled
from tests.chaos.lives import Life
from tests.chaos.store_faults import Asked
from transcription_worker.errors import ExitCode

FULL_SECONDS = 6.0
"""How long a disk stays full or frozen."""


@dataclass(frozen=True)
class Scene:
    """`play` runs it; `needs` is what the machine must have (`disk_volumes.reason_without`)."""

    name: str
    play: Callable[[Site], Played]
    needs: str = "root"


def full_while_fetching(site: Site) -> Played:
    """A neighbour takes all room, and gives it back."""
    job = site.job("full", count=1)
    with memory(job.job.scratch, 32 * MIB) as volume:
        return site.play(job, Moment(Asked.GET, 6, lambda: later(volume.fill().unlink)))


def inodes_gone(site: Site) -> Played:
    job = site.job("inodes", count=1)
    with memory(job.job.scratch, 32 * MIB, inodes=400) as volume:
        return site.play(job, Moment(Asked.GET, 6, lambda: later(lambda: emptied(volume.take_inodes()))))


def plan_without_room(site: Site) -> Played:
    job = site.job("plan", count=1)
    with memory(job.job.scratch, 8 * MIB) as volume:
        moment = Moment(Asked.LIST, 2, volume.fill, below="in%2F")
        return site.play(job, moment, between=lambda ending: (volume.path / "ballast").unlink(missing_ok=True))


def report_without_room(site: Site) -> Played:
    job = site.job("report", count=1)
    with memory(job.job.scratch, 32 * MIB) as volume:
        # The planner asks for the plan, the worker reads it, and so does the reporter: before it writes anything.
        moment = Moment(Asked.GET, 2, volume.fill, below="/plan/plan.json")
        return site.play(job, moment, between=lambda ending: (volume.path / "ballast").unlink(missing_ok=True))


def model_without_room(site: Site) -> Played:
    """The cache is smaller than the model, and is enlarged."""
    job = site.job("model", count=1)
    with memory(job.cache(0), 256 * 1024) as volume:
        played = site.play(job, None, between=lambda ending: volume.enlarge(8 * MIB))
    said = [ending.words for ending in played.endings if ending.status == ExitCode.RETRYABLE]
    if not any("No space left in the model cache" in words for words in said):
        played.faults.append(f"the cache was not what was missed: {said}")
    return played


def unpack_without_room(site: Site) -> Played:
    """Scratch has no room for the few files that are unpacked beside the weights."""
    job = site.job("unpack", count=1, workers={"gpus": 0, "replicas": 1, "scratch": {"minFree": "32Ki"}})
    with memory(job.job.scratch, 8 * MIB) as volume:
        moment = Moment(Asked.GET, 1, lambda: volume.fill(leave=8 * 1024), below="/models/")
        played = site.play(job, moment, between=lambda ending: (volume.path / "ballast").unlink(missing_ok=True))
    if not any("cannot be unpacked" in ending.words for ending in played.endings):
        played.faults.append("it shows nothing: the model was unpacked")
    return played


def read_only_in_the_middle(site: Site) -> Played:
    """As a kernel does that finds its file system damaged."""
    job = site.job("readonly", count=1)
    with disk(job.job.scratch, 32 * MIB) as volume:
        moment = Moment(Asked.GET, 8, volume.break_down)
        return site.play(job, moment, between=lambda ending: volume.repair())


def permission_lost(site: Site) -> Played:
    """The owner's directory takes no new file, not even of root."""
    job = site.job("permission", count=1)
    with disk(job.job.scratch, 32 * MIB) as volume:

        def immutable(flag: str) -> None:
            owners = [str(path) for path in volume.path.glob("owner-*") if path.is_dir()]
            subprocess.run(["chattr", flag, *owners], check=True)

        moment = Moment(Asked.GET, 8, lambda: immutable("+i"))
        return site.play(job, moment, between=lambda ending: immutable("-i"))


def quota_exhausted(site: Site) -> Played:
    """What is free and what one may still write are two things (EDQUOT)."""
    job = site.job("quota", count=1)
    whole = job.folder / "btrfs"
    with ExitStack() as stack:
        stack.enter_context(disk(whole, 160 * MIB, kind="btrfs"))
        subprocess.run(["btrfs", "quota", "enable", str(whole)], check=True, capture_output=True)
        part = whole / "part"
        subprocess.run(["btrfs", "subvolume", "create", str(part)], check=True, capture_output=True)
        subprocess.run(["btrfs", "qgroup", "limit", "24M", str(part)], check=True, capture_output=True)
        job.job.scratch.symlink_to(part)

        def exhaust() -> None:
            ballast = part / "ballast"
            with ballast.open("wb") as file:
                while True:
                    try:
                        file.write(bytes(MIB))
                        file.flush()
                    except OSError:
                        break
            later(ballast.unlink)

        return site.play(job, Moment(Asked.GET, 6, exhaust))


def frozen_for_a_while(site: Site) -> Played:
    """A disk that does not answer: no write comes to an end."""
    job = site.job("frozen", count=1)
    with disk(job.job.scratch, 32 * MIB) as volume:
        freezer = ExitStack()

        def freeze() -> None:
            freezer.enter_context(volume.frozen())
            later(freezer.close)

        return site.play(job, Moment(Asked.GET, 8, freeze))


def slow_disk(site: Site) -> Played:
    """64 kB a second for whatever a worker waits for: it should wait for nothing, for it synchronises nothing here."""
    job = site.job("slow", count=1)
    with disk(job.job.scratch, 32 * MIB) as volume, ExitStack() as throttle:
        seen: set[int] = set()

        def watch(lives: Mapping[int, Life]) -> None:
            for life in lives.values():
                if life.pid not in seen:
                    seen.add(life.pid)
                    throttle.enter_context(throttled(volume, 64 * 1024, [life.pid]))

        return site.play(job, None, watch=watch)


class Neighbours:
    """Six workers on one scratch: one is killed, one stopped, and what is the stopped one's is looked after."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self.go = threading.Event()
        self.stopped: Life | None = None
        self.killed: Life | None = None
        self.robbed: list[str] = []
        self.left_of_dead: list[str] = []
        self._woken = False
        self._of_dead: set[str] = set()
        self._before: set[str] = set()

    def watch(self, lives: Mapping[int, Life]) -> None:
        if self.stopped is None:
            if self.go.is_set() and len(lives) >= 3:
                self._strike(list(lives.values()))
            return
        if self._woken:
            return
        gone = self._before - self._owned(self.stopped)
        if gone:
            self.robbed += sorted(gone)
            self._before -= gone
        # All others are done: the frozen one wakes up to a job that is finished.
        if len(lives) == 1:
            self.left_of_dead = sorted(path for path in self._of_dead if Path(path).exists())
            self._woken = self.stopped.send(signal.SIGCONT)

    @property
    def both_had_files(self) -> bool:
        return self._woken and len(self._of_dead) > 2 and len(self._before | set(self.robbed)) > 2

    def _strike(self, lives: list[Life]) -> None:
        self.killed, self.stopped = lives[0], lives[1]
        self.stopped.send(signal.SIGSTOP)
        self._before = self._owned(self.stopped)
        self._of_dead = self._owned(self.killed)
        self.killed.send(signal.SIGKILL)

    def _owned(self, life: Life) -> set[str]:
        """The lease and all that lies in the directory of a process, as far as it is still there."""
        for lease in self._scratch.glob("owner-*.lease"):
            try:
                if f"process {life.pid}\n" in lease.read_text():
                    owner = lease.with_suffix("")
                    return {str(lease), str(owner), *(str(path) for path in owner.rglob("*"))}
            except OSError:
                continue
        return set()


def shared_by_six(site: Site) -> Played:
    """One dead, one frozen: the dead one's files go, the frozen one is alive and is not robbed."""
    job = site.job("six", count=6)
    with memory(job.job.scratch, 256 * MIB):
        neighbours = Neighbours(job.job.scratch)
        played = site.play(job, Moment(Asked.GET, 12, neighbours.go.set), watch=neighbours.watch)
    if not neighbours.both_had_files:
        played.faults.append("it shows nothing: who was killed or stopped had no files")
    played.faults += [f"left of a dead worker by those that came after it: {path}" for path in neighbours.left_of_dead]
    played.faults += [f"a frozen worker was robbed of {path}" for path in neighbours.robbed]
    return played


SCENES = (
    Scene("full while fetching", full_while_fetching),
    Scene("full while planning", plan_without_room),
    Scene("full while reporting", report_without_room),
    Scene("no room for the model", model_without_room),
    Scene("no room to unpack the model", unpack_without_room),
    Scene("out of inodes", inodes_gone),
    Scene("read-only in the middle", read_only_in_the_middle, "ext4"),
    Scene("permission lost", permission_lost, "ext4"),
    Scene("quota exhausted", quota_exhausted, "quota"),
    Scene("a disk that stands still", frozen_for_a_while, "ext4"),
    Scene("a slow disk", slow_disk, "throttle"),
    Scene("shared by six, one dead, one frozen", shared_by_six),
)


def later(act: Callable[[], object]) -> None:
    timer = threading.Timer(FULL_SECONDS, act)
    timer.daemon = True
    timer.start()


def emptied(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
