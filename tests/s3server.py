"""A real S3 server for tests: versitygw over a directory. Builds the binary once into .tools/; pytest-free."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

VERSION = "v1.8.0"
REPOSITORY = Path(__file__).parents[1]
BINARY = REPOSITORY / ".tools" / "versitygw"
ACCESS_KEY = "root-access"
SECRET_KEY = "root-secret"
REGION = "us-east-1"
_START_SECONDS = 20.0


class NoServerError(Exception):
    """There is no versitygw and no Go to build it with."""


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server. `client` makes a boto3 client that nothing in the product had a hand in."""

    endpoint: str
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    region: str = REGION
    ca_bundle: Path | None = None

    def client(self, access_key: str | None = None, secret_key: str | None = None) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=access_key or self.access_key,
            aws_secret_access_key=secret_key or self.secret_key,
            verify=str(self.ca_bundle) if self.ca_bundle else None,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to reach it through boto3's default chain."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def versitygw() -> Path:
    """The binary, built by the first call on this machine (about a minute).

    Raises:
        NoServerError: Go is missing.
    """
    if BINARY.exists():
        return BINARY
    go = shutil.which("go")
    if go is None:
        raise NoServerError(
            "versitygw is not in .tools/ and there is no Go to build it with; install Go 1.24 or later."
        )
    BINARY.parent.mkdir(exist_ok=True)
    subprocess.run(
        [go, "install", f"github.com/versity/versitygw/cmd/versitygw@{VERSION}"],
        env={**os.environ, "GOBIN": str(BINARY.parent)},
        check=True,
    )
    return BINARY


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


@contextmanager
def run_server(
    directory: Path, *, certificate: tuple[Path, Path] | None = None, address: str = "127.0.0.1"
) -> Iterator[S3Server]:
    """Serve `directory`/data until the block ends; users made with `add_user` live in `directory`/iam.

    Args:
        certificate: PEM files of certificate and key: the server then speaks TLS.
        address: where it listens; one that pods reach, for instance.
    """
    data, iam = directory / "data", directory / "iam"
    data.mkdir(parents=True)
    iam.mkdir()
    port = free_port(address)
    tls = ["--cert", str(certificate[0]), "--key", str(certificate[1])] if certificate else []
    command = [str(versitygw()), "--port", f"{address}:{port}", "--iam-dir", str(iam), "--iam-cache-disable", "--quiet"]
    secrets = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *tls, "posix", str(data)], env={**os.environ, **secrets}, stdout=log, stderr=log
        )
    server = S3Server(
        f"{'https' if certificate else 'http'}://{address}:{port}", ca_bundle=certificate[0] if certificate else None
    )
    try:
        _await(server, process, directory / "log")
        yield server
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def add_user(server: S3Server, access_key: str, secret_key: str) -> None:
    """A user that may do nothing until a bucket policy says otherwise."""
    admin = ["admin", "--allow-insecure", "--endpoint-url", server.endpoint]
    root = ["--access", server.access_key, "--secret", server.secret_key]
    user = ["create-user", "--access", access_key, "--secret", secret_key, "--role", "user"]
    subprocess.run([str(versitygw()), *admin, *root, *user], check=True, capture_output=True)


def _await(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = monotonic() + _START_SECONDS
    client = server.client()
    while True:
        if process.poll() is not None:
            raise RuntimeError(f"versitygw ended with {process.returncode}: {log.read_text()}")
        try:
            client.list_buckets()
            return
        except BotoCoreError:
            if monotonic() > deadline:
                raise
            sleep(0.05)
