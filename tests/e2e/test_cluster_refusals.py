"""Where the test cluster cannot run it says so in one sentence; none of these tests needs a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.build import build
from tests.cluster.errors import ClusterError
from tests.cluster.layout import REPOSITORY
from tests.cluster.machine import remove_files

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root on Linux"),
]

_AS_NOBODY = "import os; from tests.cluster.machine import require_machine; os.setuid(65534); require_machine()"
_NETWORKS = "from tests.cluster.machine import require_free_networks; require_free_networks()"


def test_without_root_it_says_so() -> None:
    assert "ClusterError: The test cluster needs root; without it set KUBECONFIG" in last_line(
        sys.executable, "-c", _AS_NOBODY
    )


def test_network_in_use_is_named() -> None:
    """In a network namespace of its own, where another network of pods has the addresses."""
    script = 'ip link set lo up && ip address add 10.88.5.1/24 dev lo && exec "$@"'
    said = last_line("unshare", "--net", "sh", "-c", script, "sh", sys.executable, "-c", _NETWORKS)
    assert "The test cluster needs 10.88.0.0/16, which overlaps 10.88.5." in said
    assert "on lo; stop what uses that network." in said


def test_unused_networks_are_accepted() -> None:
    command = ["unshare", "--net", sys.executable, "-c", _NETWORKS]
    assert subprocess.run(command, cwd=REPOSITORY, capture_output=True).returncode == 0


def test_folder_with_a_mount_in_it_is_not_removed(tmp_path: Path) -> None:
    mounted, kept = tmp_path / "mounted", tmp_path / "precious"
    mounted.mkdir()
    kept.mkdir()
    (kept / "file").touch()
    subprocess.run(["mount", "--bind", kept, mounted], check=True)
    try:
        with pytest.raises(ClusterError, match=f"{mounted} is a mount point"):
            remove_files(tmp_path)
    finally:
        subprocess.run(["umount", mounted], check=True)
    assert (kept / "file").exists()


def test_unknown_program_is_refused() -> None:
    with pytest.raises(ClusterError, match="There is no program 'kubeadm' to build; there are helm, kubectl, "):
        build("kubeadm")


def last_line(*command: str) -> str:
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode != 0
    return done.stderr.strip().splitlines()[-1]
