"""What a user reads when the store cannot be used: one sentence, before any work, from a real server."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.conftest import require_server
from tests.s3server import S3Server, add_user, free_port, run_server
from transcription_worker.errors import ConfigurationError, Reason, RecordingError, RetryableError
from transcription_worker.store import StoreSettings, open_store

pytestmark = pytest.mark.s3


def sentence_of(error: type[Exception], uri: str, settings: StoreSettings | None = None, *, write: bool = False) -> str:
    with pytest.raises(error) as raised:
        open_store(uri, settings).check(write=write)
    assert type(raised.value) is error
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture
def guest(s3_environment: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment of a user who may list `open/`, read it and write nothing."""
    name = f"guest-{bucket}"
    add_user(s3_environment, name, "guest-secret")
    arn = f"arn:aws:s3:::{bucket}"
    statements = [
        {"Action": "s3:ListBucket", "Resource": arn},
        {"Action": "s3:GetObject", "Resource": f"{arn}/open/*"},
        {"Action": "s3:PutObject", "Resource": f"{arn}/inbox/*"},
    ]
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": name, **s} for s in statements]}
    s3_environment.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", name)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guest-secret")
    return bucket


def test_a_wrong_secret(s3_environment: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert sentence_of(ConfigurationError, f"s3://{bucket}/p") == (
        f"Access to s3://{bucket}/p was denied: the secret key for access key root… is wrong (SignatureDoesNotMatch); "
        "correct AWS_SECRET_ACCESS_KEY or the Secret named in spec.storage.credentialsSecret."
    )


def test_an_unknown_access_key(s3_environment: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    assert sentence_of(ConfigurationError, f"s3://{bucket}/p") == (
        f"Access to s3://{bucket}/p was denied: {s3_environment.endpoint} knows no access key nobo… "
        "(InvalidAccessKeyId); correct AWS_ACCESS_KEY_ID or the Secret named in spec.storage.credentialsSecret."
    )


def test_no_credentials(s3_environment: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    assert sentence_of(ConfigurationError, f"s3://{bucket}/p") == (
        f"Access to s3://{bucket}/p was denied: no credentials were found; set AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, the Secret named in spec.storage.credentialsSecret, or give the service account a role."
    )


def test_credentials_come_from_the_default_chain(
    s3_environment: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    file = tmp_path / "credentials"
    file.write_text(
        f"[default]\naws_access_key_id={s3_environment.access_key}\naws_secret_access_key={s3_environment.secret_key}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    open_store(f"s3://{bucket}/p").check(write=True)


def test_a_missing_bucket(s3_environment: S3Server) -> None:
    for write in (False, True):
        assert sentence_of(ConfigurationError, "s3://not-there/p", write=write) == (
            f"s3://not-there/p cannot be used: bucket not-there does not exist at {s3_environment.endpoint} "
            "(NoSuchBucket); create it or correct the URI."
        )


def test_what_is_no_buckets_name(s3_environment: S3Server) -> None:
    assert sentence_of(ConfigurationError, "s3://my bucket/p") == (
        "s3://my bucket/p cannot be used: my bucket is no bucket's name; write s3://<bucket>/<prefix>."
    )


def test_a_denied_listing(s3: S3Server, guest: str) -> None:
    other = f"{guest}-x"
    s3.client().create_bucket(Bucket=other)
    sentence = sentence_of(ConfigurationError, f"s3://{other}/p")
    assert sentence.startswith(
        f"Access to s3://{other}/p was denied: access key gues… may not list it (AccessDenied: Access Denied); allow "
        "s3:ListBucket as in docs/object-store.md."
    )


def test_a_denied_write(guest: str) -> None:
    open_store(f"s3://{guest}/open").check(write=False)
    sentence = sentence_of(ConfigurationError, f"s3://{guest}/open", write=True)
    assert "may not write it (AccessDenied" in sentence and "allow s3:PutObject" in sentence


def test_a_denied_deletion(guest: str) -> None:
    sentence = sentence_of(ConfigurationError, f"s3://{guest}/inbox", write=True)
    assert "may not delete it (AccessDenied" in sentence and "allow s3:DeleteObject" in sentence


def test_one_denied_recording_is_a_failure_of_that_recording(s3: S3Server, guest: str, tmp_path: Path) -> None:
    etags = {
        key: s3.client().put_object(Bucket=guest, Key=key, Body=b"x")["ETag"].strip('"')
        for key in ("open/a.wav", "closed/b.wav")
    }
    store = open_store(f"s3://{guest}")
    store.fetch("open/a.wav", etags["open/a.wav"], tmp_path / "a")
    with pytest.raises(RecordingError) as raised:
        store.fetch("closed/b.wav", etags["closed/b.wav"], tmp_path / "b")
    assert raised.value.reason is Reason.ACCESS_DENIED and not raised.value.retryable
    assert str(raised.value).startswith(
        f"Access to s3://{guest}/closed/b.wav was denied: access key gues… may not read it (AccessDenied"
    )


def test_an_endpoint_that_does_not_answer_may_be_back_later(s3_environment: S3Server) -> None:
    for endpoint in (f"http://127.0.0.1:{free_port()}", "http://no-such-host.invalid:9000"):
        settings = StoreSettings(endpoint_url=endpoint, max_attempts=2)
        sentence = sentence_of(RetryableError, "s3://b/p", settings)
        assert sentence.startswith(f"{endpoint} cannot be reached for s3://b/p (Could not connect to the endpoint URL")
        assert sentence.endswith("; check that the store is up and spec.storage.endpointUrl is right.")


def test_an_endpoint_that_is_no_url(s3_environment: S3Server) -> None:
    assert sentence_of(ConfigurationError, "s3://b/p", StoreSettings(endpoint_url="minio:9000")) == (
        "The endpoint minio:9000 is no URL; write spec.storage.endpointUrl as http://<host>:<port> or https://<host>."
    )


def test_a_listing_with_wrong_credentials_says_the_same(
    s3_environment: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(ConfigurationError, match="the secret key for access key root… is wrong"):
        list(open_store(f"s3://{bucket}/p").list())


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server with a certificate of its own making."""
    require_server()
    directory = tmp_path_factory.mktemp("tls")
    certificate, key = directory / "cert.pem", directory / "key.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    request += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*request, "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    with run_server(directory / "server", certificate=(certificate, key)) as server:
        server.client().create_bucket(Bucket="safe")
        yield server


def test_a_private_authority_is_trusted_by_its_bundle(s3_environment: S3Server, tls: S3Server) -> None:
    store = open_store("s3://safe/p", StoreSettings(endpoint_url=tls.endpoint, ca_bundle=tls.ca_bundle))
    store.check(write=True)
    assert store.supports_conditions()


def test_an_unknown_authority(s3_environment: S3Server, tls: S3Server) -> None:
    sentence = sentence_of(ConfigurationError, "s3://safe/p", StoreSettings(endpoint_url=tls.endpoint, max_attempts=1))
    assert sentence.startswith(f"s3://safe/p cannot be used: the certificate of {tls.endpoint} is not trusted (")
    assert sentence.endswith("; give its authority in spec.storage.caBundle.")


@pytest.mark.parametrize("days", [-3, 3], ids=["expired", "not yet"])
def test_a_certificate_that_is_not_valid_now_may_be_the_fault_of_a_clock(
    s3_environment: S3Server, tmp_path: Path, days: int
) -> None:
    """It is what a clock that is days off meets first, before the store can say that it is."""
    certificate = certificate_of(tmp_path, begins=timedelta(days=days))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            endpoint = f"https://127.0.0.1:{server.server_port}"
            settings = StoreSettings(endpoint_url=endpoint, ca_bundle=certificate, max_attempts=1)
            sentence = sentence_of(RetryableError, "s3://b/p", settings)
        finally:
            server.shutdown()
            thread.join()
    assert sentence.startswith(
        f"s3://b/p cannot be used: by this machine's clock the certificate of {endpoint} is not valid now ("
    )
    assert sentence.endswith("; set the clock, or renew the certificate.")


def certificate_of(folder: Path, begins: timedelta) -> Path:
    """One for this machine with its key, valid for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    first = datetime.now(UTC) + begins
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(first + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    place = folder / "certificate.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    place.write_bytes(private + made.public_bytes(pem))
    return place


def test_a_missing_bundle(s3_environment: S3Server, tls: S3Server, tmp_path: Path) -> None:
    settings = StoreSettings(endpoint_url=tls.endpoint, ca_bundle=tmp_path / "ca.pem")
    assert sentence_of(ConfigurationError, "s3://safe/p", settings) == (
        f"The CA bundle {tmp_path}/ca.pem is no file; correct spec.storage.caBundle."
    )


def test_https_to_a_server_without_it(s3_environment: S3Server) -> None:
    endpoint = s3_environment.endpoint.replace("http:", "https:")
    assert sentence_of(ConfigurationError, "s3://b/p", StoreSettings(endpoint_url=endpoint, max_attempts=1)) == (
        f"s3://b/p cannot be used: {endpoint} does not speak TLS; write http:// in spec.storage.endpointUrl."
    )


def test_an_endpoint_that_is_no_s3_server(s3_environment: S3Server) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = b"<!doctype html><title>Console</title><p>Sign in"
            self.send_response(404)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *arguments: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            endpoint = f"http://127.0.0.1:{server.server_port}"
            settings = StoreSettings(endpoint_url=endpoint, max_attempts=1)
            sentence = sentence_of(ConfigurationError, "s3://b/p", settings)
        finally:
            server.shutdown()
            thread.join()
    assert sentence == (
        f"s3://b/p cannot be used: {endpoint} does not answer as an S3 server does; correct spec.storage.endpointUrl."
    )
