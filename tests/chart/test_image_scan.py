"""The scan of images finds what it is there to find, in an archive as container runtimes import it."""

import io
import tarfile
from dataclasses import replace

import pytest

from tests.cluster.oci import Entry, write_image
from tests.image_scan import File, Finding, Image, lay, read_image, scan

SOUND = Image(
    {"User": "65532:65532", "Env": ["PATH=/opt/venv/bin"]},
    ("COPY /opt/venv",),
    {
        file.path: file
        for file in (
            File("tmp", 0o041777),
            File("usr/bin/ls", 0o100755),
            File("bin", 0o120777),
            File("opt/venv/bin/transcription-operator", 0o100755, content=b"#!/opt/venv/bin/python"),
        )
    },
)
KEY = b"-----BEGIN RSA PRIVATE KEY-----\n" + b"MIIEpAIBAAKCAQEA" * 4


def test_a_sound_image_has_no_finding():
    assert scan(SOUND, ["packages.example.com"]) == []


@pytest.mark.parametrize(
    ("file", "check"),
    [
        (File("usr/bin/su", 0o104755), "runs with its owner's rights"),
        (File("usr/bin/wall", 0o102755), "runs with its owner's rights"),
        (File("usr/bin/ping", 0o100755, capabilities=True), "runs with capabilities"),
        (File("etc/passwd", 0o100666), "anybody may write"),
        (File("srv", 0o040777), "anybody may write"),
        (File("opt/venv/x.py", 0o100644, uid=65532), "belongs to somebody other than the system"),
        (File("opt/venv/x.py", 0o100644, gid=65532), "belongs to somebody other than the system"),
        (File("dev/sda", 0o060600), "is a device"),
        (File("src/.git", 0o040755), "could hold a secret"),
        (File("root/.netrc", 0o100600), "could hold a secret"),
        (File("etc/pip.conf", 0o100644), "could hold a secret"),
        (File("usr/bin/curl", 0o100755), "brings in more"),
        (File("opt/venv/lib/python3.11/site-packages/pip", 0o040755), "brings in more"),
        (File("usr/share/python-wheels/pip-23.0.1-py3-none-any.whl", 0o100644), "brings in more"),
        (File("etc/key", 0o100600, content=KEY), "holds a private key"),
        (File("etc/aws", 0o100600, content=b"id = AKIAABCDEFGHIJKLMNOP\n"), "holds an access key"),
        (File("etc/hub", 0o100600, content=b"hf_" + b"a" * 34), "holds a token of a model hub"),
        (File("etc/apt", 0o100600, content=b"deb https://me:word@deb.example.com/"), "holds a password in an address"),
        (File("etc/x", 0o100644, content=b"see packages.example.com"), "trace of the build"),
    ],
)
def test_a_bad_file_is_found(file, check):
    image = replace(SOUND, files={**SOUND.files, file.path: file})
    assert scan(image, ["packages.example.com"]) == [Finding(check, file.path)]


@pytest.mark.parametrize(
    ("settings", "finding"),
    [
        ({"User": ""}, Finding("user is root, or none that Kubernetes can tell from root", "settings")),
        ({"User": "nonroot"}, Finding("user is root, or none that Kubernetes can tell from root", "settings")),
        ({"User": "65532:0"}, Finding("user is root, or none that Kubernetes can tell from root", "settings")),
        ({"Env": ["HF_TOKEN=x"]}, Finding("setting that could be a secret", "HF_TOKEN")),
        ({"Env": ["PIP_INDEX_URL=x"]}, Finding("setting that could be a secret", "PIP_INDEX_URL")),
        ({"Volumes": {"/data": {}}}, Finding("volume that is writable without being asked for", "settings")),
    ],
)
def test_a_bad_setting_is_found(settings, finding):
    assert scan(replace(SOUND, settings={**SOUND.settings, **settings})) == [finding]


def test_a_trace_in_the_steps_of_the_build_is_found():
    image = replace(SOUND, steps=("RUN pip install --index-url https://packages.example.com/simple x",))
    assert scan(image, ["packages.example.com"]) == [Finding("trace of the build", "settings")]


def test_an_archive_is_read(tmp_path):
    archive = tmp_path / "image.tar"
    entries = [Entry("usr"), Entry("usr/su", b"x", mode=0o4755), Entry("bin", link="usr/bin")]
    write_image(archive, "registry.local/bad:1", entries)
    image = read_image(archive)
    assert {path: oct(file.mode) for path, file in image.files.items()} == {
        "usr": "0o40755",
        "usr/su": "0o104755",
        "bin": "0o120755",
    }
    assert [finding.where for finding in scan(image)] == ["usr/su", "settings"]


def test_a_layer_takes_away_what_the_one_below_had():
    files = {path: File(path, 0o100644) for path in ("etc/pip.conf", "src/a", "src/b/c", "opt/x")}
    with tarfile.open(fileobj=layer("etc/.wh.pip.conf", "src/.wh..wh..opq", "src/new")) as tar:
        lay(files, tar)
    assert set(files) == {"src/new", "opt/x"}


def layer(*names: str) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    buffer.seek(0)
    return buffer
