"""The moments at which an owner and sweepers meet on one lease. The kernel's locks are real; only the order is forced:
something is done in between, just before a lock is asked for."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from transcription_worker import scratch_lease
from transcription_worker.scratch_tree import opened
from transcription_worker.sweep import sweep


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    with opened(tmp_path) as directory:
        yield directory


@pytest.fixture
def before_next_lock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    def arrange(act: Callable[[], object]) -> None:
        flock = fcntl.flock

        def lock(descriptor: int, operation: int) -> None:
            monkeypatch.setattr(fcntl, "flock", flock)
            act()
            flock(descriptor, operation)

        monkeypatch.setattr(fcntl, "flock", lock)

    return arrange


def test_owner_whose_lease_is_swept_before_it_is_locked_takes_another(
    tmp_path: Path, root: int, before_next_lock: Callable[[Callable[[], object]], None]
) -> None:
    swept: list[int] = []
    before_next_lock(lambda: swept.append(sweep(tmp_path).orphans))
    lease = scratch_lease.acquire(root)
    assert swept == [1]
    assert names_in(tmp_path) == [f"{lease.owner}.lease"]
    assert sweep(tmp_path).live == 1
    lease.release(root)
    assert names_in(tmp_path) == []


def test_owner_whose_lease_a_sweeper_holds_takes_another(
    tmp_path: Path, root: int, before_next_lock: Callable[[Callable[[], object]], None]
) -> None:
    sweepers: list[scratch_lease.Lease | None] = []

    def take() -> None:
        (name,) = names_in(tmp_path)
        sweepers.append(scratch_lease.take_over(root, name.removesuffix(".lease")))

    before_next_lock(take)
    lease = scratch_lease.acquire(root)
    (sweeper,) = sweepers
    assert sweeper is not None
    assert sweeper.owner != lease.owner
    sweeper.release(root)
    assert sweep(tmp_path).live == 1
    lease.release(root)


def test_owner_whose_lease_is_replaced_by_hand_takes_another(
    tmp_path: Path, root: int, before_next_lock: Callable[[Callable[[], object]], None]
) -> None:
    def replace() -> None:
        (name,) = names_in(tmp_path)
        (tmp_path / name).rename(tmp_path / "away")
        (tmp_path / name).touch()

    before_next_lock(replace)
    lease = scratch_lease.acquire(root)
    assert len(names_in(tmp_path)) == 3
    assert sweep(tmp_path).live == 1
    lease.release(root)


def test_second_sweeper_of_a_lease_lets_it_go(
    tmp_path: Path, root: int, before_next_lock: Callable[[Callable[[], object]], None]
) -> None:
    owner = f"owner-{'a' * 32}"
    (tmp_path / f"{owner}.lease").touch()
    before_next_lock(lambda: sweep(tmp_path))
    assert scratch_lease.take_over(root, owner) is None
    assert names_in(tmp_path) == []


def test_lease_of_another_process_comes_free_with_its_last_descriptor(tmp_path: Path, root: int) -> None:
    lease = scratch_lease.acquire(root)
    assert scratch_lease.take_over(root, lease.owner) is None
    lease.drop()
    lease.drop()
    orphan = scratch_lease.take_over(root, lease.owner)
    assert orphan is not None
    orphan.release(root)


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]
