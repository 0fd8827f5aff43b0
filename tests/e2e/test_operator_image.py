"""The operator's image as it is built: every finding of the scan is mended or explained; nothing is in it by chance.

It needs no cluster; it stands here because the tests of the chart build the image.
"""

from __future__ import annotations

import os
import re
from fnmatch import fnmatch
from urllib.parse import urlsplit

import pytest

from scripts.build_images import PIP_SETTINGS, BuildError, build
from tests.cluster.layout import REPOSITORY
from tests.e2e.conftest import refuse
from tests.image_scan import Finding, Image, read_image, scan

pytestmark = [pytest.mark.root, pytest.mark.slow]

EXPLAINED = {
    ("brings in more", "usr/bin/apt*"): "Debian's own: only root may use it, there is none, and no sudo",
    ("brings in more", "usr/bin/dpkg"): "as apt",
    ("brings in more", "usr/share/python-wheels/*"): "of Debian's python3-venv, with which the first stage begins; "
    "the operator's environment is root's and cannot be added to",
    ("holds a password in an address", "opt/venv/lib/*/site-packages/pydantic/*"): "an example in a docstring",
    ("holds a password in an address", "opt/venv/lib/*/site-packages/urllib3/*"): "an example in a docstring",
    ("holds a private key", "usr/lib/*/libgnutls.so.*"): "GnuTLS's key for its test of itself, known to everybody",
}
"""Check and paths -> why it stays."""


@pytest.fixture(scope="module")
def image() -> Image:
    try:
        return read_image(build("operator"))
    except BuildError as error:
        refuse(str(error))
        raise


def explanation(finding: Finding) -> tuple[str, str] | None:
    keys = (key for key in EXPLAINED if key[0] == finding.check and fnmatch(finding.where, key[1]))
    return next(keys, None)


def test_the_image_has_no_unexplained_finding(image: Image) -> None:
    findings = scan(image, words_of_this_machine())
    assert [finding for finding in findings if explanation(finding) is None] == []
    assert {explanation(finding) for finding in findings} == set(EXPLAINED), "an explanation of nothing"


def test_the_image_holds_the_locked_packages_and_the_project(image: Image) -> None:
    found = {
        (match[1].lower().replace("_", "-"), match[2])
        for path in image.files
        if (match := re.fullmatch(r"opt/venv/lib/python3\.\d+/site-packages/([^/]+)-([^/-]+)\.dist-info", path))
    }
    lines = (REPOSITORY / "requirements-operator.txt").read_text().splitlines()
    locked = {(name, version.partition(" ")[0]) for name, _, version in (line.partition("==") for line in lines)}
    assert {one for one in found if one[0] != "transcription-operator"} <= locked
    assert {name for name, _ in found} == {name for name, _ in locked} | {"transcription-operator"}


def test_the_image_starts_the_operator_and_offers_one_port(image: Image) -> None:
    assert image.settings["Entrypoint"] == ["transcription-operator"]
    assert set(image.settings["ExposedPorts"]) in ({"8080"}, {"8080/tcp"})
    assert image.settings["WorkingDir"] == "/"
    assert image.settings["User"] == "65532:65532"


def words_of_this_machine() -> set[str]:
    """Hosts of the package indexes that the build was given, and this checkout's path."""
    given = (os.environ.get(setting, "") for setting in PIP_SETTINGS)
    hosts = {urlsplit(value).hostname or "" for value in given if "://" in value}
    return {*(hosts - {""}), str(REPOSITORY)}
