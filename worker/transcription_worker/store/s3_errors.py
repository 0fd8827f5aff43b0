"""botocore's errors in this tool's words: one sentence that says what failed, where, and what to change.

Listed and explained for users in docs/object-store.md. Nothing is retried here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from botocore import exceptions as aws
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from transcription_worker.errors import (
    ClockError,
    ConfigurationError,
    PreconditionFailed,
    Reason,
    RecordingError,
    RetryableError,
    TranscriptionError,
)

AWS_ERRORS = (BotoCoreError, ClientError, HTTPError, ResponseParserError)
"""What a call of a client or reading a body raises; botocore lets some of urllib3's errors through."""

BROKEN_BODY = (
    aws.IncompleteReadError,
    aws.ResponseStreamingError,
    aws.ReadTimeoutError,
    aws.FlexibleChecksumError,
    HTTPError,
)
"""What reading a body raises: the connection broke, or what came is not what was stored."""

_WHERE_KEYS_ARE = "the Secret named in spec.storage.credentialsSecret"
_REGION_CODES = frozenset(
    {"PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)
_EXPIRED_CODES = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"})
_TOKEN_CODES = frozenset({"InvalidToken", "InvalidClientTokenId", "UnrecognizedClientException"})
_DENIED_CODES = frozenset({"AccessDenied", "AccessDeniedException", "403", "Forbidden", "AllAccessDisabled"})
_MISSING_CODES = frozenset({"NoSuchKey", "404", "NotFound"})
DAMAGED_CODES = frozenset({"BadDigest", "XAmzContentSHA256Mismatch"})
"""The store got another body than the one that was sent."""
_TRANSIENT_CODES = DAMAGED_CODES | {
    *("RequestTimeout", "SlowDown", "ConditionalRequestConflict", "OperationAborted", "NoSuchUpload")
}
_NO_TRUST = ("CERTIFICATE_VERIFY_FAILED", "certificate verify failed")
_OUT_OF_TIME = ("certificate has expired", "certificate is not yet valid")
_NO_TLS = ("WRONG_VERSION_NUMBER", "wrong version number", "record layer failure")


class Action(Enum):
    """What was tried, in words, and the permission that it takes."""

    LIST = ("list", "s3:ListBucket")
    READ = ("read", "s3:GetObject")
    WRITE = ("write", "s3:PutObject")
    DELETE = ("delete", "s3:DeleteObject")

    def __init__(self, verb: str, permission: str) -> None:
        self.verb = verb
        self.permission = permission


@dataclass(frozen=True, slots=True)
class Location:
    """Where it failed. `access_key` is shown shortened; None where the chain found no credentials."""

    uri: str
    bucket: str
    endpoint: str
    access_key: str | None
    kms_key_id: str | None = None

    @property
    def key_in_words(self) -> str:
        if not self.access_key:
            return "access key (none)"
        return f"access key {self.access_key[:4]}…"

    def of(self, key: str) -> str:
        """The URI of one object, on one line whatever its key contains."""
        uri = f"s3://{self.bucket}/{key}"
        return uri if uri.isprintable() else repr(uri)


def translate(error: Exception, where: Location, action: Action, key: str | None = None) -> TranscriptionError:
    """The error to raise in place of `error`.

    Args:
        key: full key of the one object that this was about; None where it concerns the location as a whole, in which
            case what stops one object stops the job.
    """
    if isinstance(error, ClientError):
        return _answered(error, where, action, key)
    return _not_answered(error, where, action, key)


def status_of(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _answered(error: ClientError, where: Location, action: Action, key: str | None) -> TranscriptionError:
    code = error.response.get("Error", {}).get("Code", "Unknown")
    status = status_of(error)
    if code == "RequestTimeTooSkewed":  # the fault of one machine: its clock is set again, or another one takes over
        return ClockError(
            f"Access to {where.uri} was denied: the clocks of this machine and of {where.endpoint} differ too much "
            f"({code}); set the clock."
        )
    if sentence := _location_at_fault(error, code, where):
        return ConfigurationError(sentence)
    target = where.uri if key is None else where.of(key)
    if code == "PreconditionFailed" or status == 412:
        if action is Action.WRITE:
            return PreconditionFailed(f"{target} was written by another in the meantime.")
        return RecordingError(Reason.CHANGED, f"{target} is no longer the version that was listed; run the job again.")
    if code == "NoSuchKey" and action is Action.WRITE:
        return PreconditionFailed(f"{target} was removed by another in the meantime.")
    if code in _MISSING_CODES and key is not None and action is not Action.WRITE:
        return RecordingError(Reason.NOT_FOUND, f"{target} does not exist; it was removed after it was listed.")
    if code in _DENIED_CODES:
        sentence = (
            f"Access to {target} was denied: {where.key_in_words} may not {action.verb} it ({_said(error)}); allow "
            f"{action.permission} as in docs/object-store.md."
        )
        return ConfigurationError(sentence) if key is None else RecordingError(Reason.ACCESS_DENIED, sentence)
    if code == "404" and action is Action.LIST:
        return ConfigurationError(_no_s3(where))
    transient = (status >= 500 and status != 501) or status in (408, 429) or code in _TRANSIENT_CODES
    sentence = f"{where.endpoint} refused to {action.verb} {target} ({_said(error)})."
    if key is not None:
        return RecordingError(Reason.STORE_ERROR, sentence, retryable=transient)
    return RetryableError(sentence) if transient else ConfigurationError(sentence)


def _location_at_fault(error: ClientError, code: str, where: Location) -> str | None:
    """The sentence where no object of this location can be reached before a person changes something."""
    denied = f"Access to {where.uri} was denied:"
    if error.operation_name.startswith("AssumeRole"):
        return (
            f"{denied} the role of the service account could not be assumed ({_said(error)}); check its trust policy."
        )
    if code == "SignatureDoesNotMatch":
        return (
            f"{denied} the secret key for {where.key_in_words} is wrong ({code}); correct AWS_SECRET_ACCESS_KEY or "
            f"{_WHERE_KEYS_ARE}."
        )
    if code in ("InvalidAccessKeyId", "InvalidAccessKey"):
        return (
            f"{denied} {where.endpoint} knows no {where.key_in_words} ({code}); correct AWS_ACCESS_KEY_ID or "
            f"{_WHERE_KEYS_ARE}."
        )
    if code in _EXPIRED_CODES:
        return f"{denied} the session token of {where.key_in_words} has expired ({code}); renew {_WHERE_KEYS_ARE}."
    if code in _TOKEN_CODES:
        return f"{denied} the session token of {where.key_in_words} is not valid ({code}); correct AWS_SESSION_TOKEN."
    if code == "NoSuchBucket":
        return (
            f"{where.uri} cannot be used: bucket {where.bucket} does not exist at {where.endpoint} ({code}); create it "
            "or correct the URI."
        )
    if code in _REGION_CODES:
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        region = headers.get("x-amz-bucket-region") or error.response.get("Error", {}).get("Region")
        return (
            f"{where.uri} cannot be used: bucket {where.bucket} is in another region ({code}); set spec.storage.region "
            f"to {region or 'its region'}."
        )
    if code.startswith("KMS.") or code == "KMSInvalidStateException":
        return (
            f"{where.uri} cannot be used: KMS key {where.kms_key_id or 'of the bucket'} is unusable ({_said(error)}); "
            "correct spec.output.encryption.kmsKeyId."
        )
    return None


def _not_answered(error: Exception, where: Location, action: Action, key: str | None) -> TranscriptionError:
    denied = f"Access to {where.uri} was denied:"
    if isinstance(error, aws.NoCredentialsError):
        return ConfigurationError(
            f"{denied} no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, {_WHERE_KEYS_ARE}, "
            "or give the service account a role."
        )
    if isinstance(error, aws.PartialCredentialsError):
        return ConfigurationError(
            f"{denied} the credentials are incomplete ({_plain(error)}); complete {_WHERE_KEYS_ARE}."
        )
    if isinstance(error, aws.CredentialRetrievalError | aws.TokenRetrievalError | aws.SSOError | aws.ProfileNotFound):
        return ConfigurationError(f"{denied} the credentials could not be read ({_plain(error)}).")
    if isinstance(error, aws.ParamValidationError) and "bucket" in str(error).lower():
        return ConfigurationError(
            f"{where.uri} cannot be used: {where.bucket} is no bucket's name; write s3://<bucket>/<prefix>."
        )
    if isinstance(error, ResponseParserError):
        return ConfigurationError(_no_s3(where))
    if isinstance(error, aws.SSLError) and any(sign in str(error) for sign in _OUT_OF_TIME):
        return RetryableError(
            f"{where.uri} cannot be used: by this machine's clock the certificate of {where.endpoint} is not valid "
            f"now ({_plain(error)}); set the clock, or renew the certificate."
        )
    if isinstance(error, aws.SSLError) and any(sign in str(error) for sign in _NO_TRUST):
        return ConfigurationError(
            f"{where.uri} cannot be used: the certificate of {where.endpoint} is not trusted ({_plain(error)}); give "
            "its authority in spec.storage.caBundle."
        )
    if isinstance(error, aws.SSLError) and any(sign in str(error) for sign in _NO_TLS):
        return ConfigurationError(
            f"{where.uri} cannot be used: {where.endpoint} does not speak TLS; write http:// in "
            "spec.storage.endpointUrl."
        )
    if isinstance(error, aws.HTTPClientError | aws.ConnectionError):
        sentence = (
            f"{where.endpoint} cannot be reached for {where.uri} ({_plain(error)}); check that the store is up and"
        )
        sentence += " spec.storage.endpointUrl is right."
        return RetryableError(sentence) if key is None else RecordingError(Reason.STORE_ERROR, sentence)
    if isinstance(error, BROKEN_BODY):
        sentence = f"{where.uri if key is None else where.of(key)} could not be read to its end ({_plain(error)})."
        return RecordingError(Reason.STORE_ERROR, sentence)
    sentence = f"{where.uri} cannot be used: to {action.verb} failed in the S3 client ({_plain(error)})."
    return ConfigurationError(sentence)


def _no_s3(where: Location) -> str:
    return (
        f"{where.uri} cannot be used: {where.endpoint} does not answer as an S3 server does; correct "
        "spec.storage.endpointUrl."
    )


def _said(error: ClientError) -> str:
    """Code and message of the store on one line."""
    said = error.response.get("Error", {})
    code, message = said.get("Code", "Unknown"), " ".join(str(said.get("Message") or "").split())
    return f"{code}: {message[:200].rstrip('.')}" if message and message != code else code


def _plain(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
