"""Sentences for what no test server says: the rest is seen against real ones in tests/integration."""

from __future__ import annotations

import pytest
from botocore import exceptions as aws
from botocore.exceptions import ClientError

from transcription_worker.errors import (
    ClockError,
    ConfigurationError,
    PreconditionFailed,
    Reason,
    RecordingError,
    RetryableError,
)
from transcription_worker.store.s3_errors import Action, Location, translate

WHERE = Location("s3://b/p", "b", "https://s3.example", "AKIAIOSFODNN7EXAMPLE", kms_key_id="alias/k")


def answer(
    code: str, status: int = 400, message: str = "", operation: str = "PutObject", **headers: str
) -> ClientError:
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": {name.replace("_", "-"): v for name, v in headers.items()}}
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}
    return ClientError(response, operation)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            answer("ExpiredToken"),
            "Access to s3://b/p was denied: the session token of access key AKIA… has expired (ExpiredToken); renew "
            "the Secret named in spec.storage.credentialsSecret.",
        ),
        (
            answer("InvalidToken"),
            "Access to s3://b/p was denied: the session token of access key AKIA… is not valid (InvalidToken); correct "
            "AWS_SESSION_TOKEN.",
        ),
        (
            answer("PermanentRedirect", 301, x_amz_bucket_region="eu-west-1"),
            "s3://b/p cannot be used: bucket b is in another region (PermanentRedirect); set spec.storage.region to "
            "eu-west-1.",
        ),
        (
            answer("KMS.NotFoundException", message="Key 'alias/k'\ndoes not exist."),
            "s3://b/p cannot be used: KMS key alias/k is unusable (KMS.NotFoundException: Key 'alias/k' does not exist)"
            "; correct spec.output.encryption.kmsKeyId.",
        ),
        (
            answer("AccessDenied", 403, "Not authorized to perform", operation="AssumeRoleWithWebIdentity"),
            "Access to s3://b/p was denied: the role of the service account could not be assumed (AccessDenied: Not "
            "authorized to perform); check its trust policy.",
        ),
        (
            aws.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"),
            "Access to s3://b/p was denied: the credentials are incomplete (Partial credentials found in env, missing: "
            "AWS_SECRET_ACCESS_KEY); complete the Secret named in spec.storage.credentialsSecret.",
        ),
        (
            aws.CredentialRetrievalError(provider="iam-role", error_msg="timed out"),
            "Access to s3://b/p was denied: the credentials could not be read (Error when retrieving credentials from "
            "iam-role: timed out).",
        ),
    ],
)
def test_what_a_person_must_change_is_said_for_the_location_and_for_one_object(error: Exception, sentence: str) -> None:
    for key in (None, "p/a.wav"):
        translated = translate(error, WHERE, Action.WRITE, key)
        assert type(translated) is ConfigurationError
        assert str(translated) == sentence


@pytest.mark.parametrize(
    ("code", "status", "retryable"),
    [
        ("InternalError", 500, True),
        ("SlowDown", 503, True),
        ("TooManyRequests", 429, True),
        ("RequestTimeout", 400, True),
        ("NotImplemented", 501, False),
        ("KeyTooLongError", 400, False),
        ("EntityTooLarge", 400, False),
    ],
)
def test_only_what_may_pass_is_tried_again(code: str, status: int, retryable: bool) -> None:
    one = translate(answer(code, status), WHERE, Action.WRITE, "p/a.wav")
    assert isinstance(one, RecordingError) and one.reason is Reason.STORE_ERROR and one.retryable is retryable
    assert str(one) == f"https://s3.example refused to write s3://b/p/a.wav ({code})."
    whole = translate(answer(code, status), WHERE, Action.LIST)
    assert type(whole) is (RetryableError if retryable else ConfigurationError)


def test_a_wrong_clock_is_the_fault_of_one_machine_and_of_no_object() -> None:
    for key in (None, "p/a.wav"):
        skewed = translate(answer("RequestTimeTooSkewed", 403), WHERE, Action.READ, key)
        assert type(skewed) is ClockError and isinstance(skewed, RetryableError)
        assert str(skewed) == (
            "Access to s3://b/p was denied: the clocks of this machine and of https://s3.example differ too much "
            "(RequestTimeTooSkewed); set the clock."
        )


def test_a_version_that_is_gone_is_a_lost_write_and_a_missing_recording() -> None:
    gone = answer("NoSuchKey", 404)
    assert type(translate(gone, WHERE, Action.WRITE, "p/a")) is PreconditionFailed
    read = translate(gone, WHERE, Action.READ, "p/a")
    assert isinstance(read, RecordingError) and read.reason is Reason.NOT_FOUND


def test_sentences_are_one_line_whatever_the_key_contains() -> None:
    sentence = str(translate(answer("NoSuchKey", 404), WHERE, Action.READ, "p/a\nb"))
    assert sentence == "'s3://b/p/a\\nb' does not exist; it was removed after it was listed."


def test_secrets_and_whole_access_keys_are_never_shown() -> None:
    for code in ("SignatureDoesNotMatch", "InvalidAccessKeyId", "AccessDenied", "ExpiredToken"):
        assert "AKIAI" not in str(translate(answer(code, 403), WHERE, Action.LIST))
