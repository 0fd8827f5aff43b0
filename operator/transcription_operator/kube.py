"""The Kubernetes API: the few calls that the operator makes, as plain data. The only module that imports its client.

Answers come back as dictionaries; errors as one of a few exceptions. Nothing here knows what a job needs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kubernetes import client, config
from urllib3.exceptions import HTTPError

from transcription_api.names import GROUP, PLURAL, VERSION
from transcription_operator.said import json_object
from transcription_operator.server_clock import ServerClock

Body = dict[str, Any]

REQUEST_SECONDS = 30.0
MERGE_PATCH = "application/merge-patch+json"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

_UNKNOWN_FIELD = re.compile(r'\bunknown field "([^"]+)"')

OnRequest = Callable[[str, str, int], None]
"""Told of every request: verb, resource, status code (0: no answer)."""


class KubeError(Exception):
    """The API server did not do it."""


class Missing(KubeError):
    """404: the object, or what it lives in, is gone."""


class Exists(KubeError):
    """409 on create: there is an object of that name."""


class Conflict(KubeError):
    """409 on patch: the object has changed since it was read."""


class Rejected(KubeError):
    """The request as it is will not be taken. `final`: it is malformed (400, 422), and will never be.

    `causes` are the faulty fields, each with what is wrong with it, where the API server names them.
    """

    def __init__(self, message: str, *, final: bool, causes: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.final = final
        self.causes = tuple(causes)


class Unavailable(KubeError):
    """No answer, 429 or 5xx: ask again in `seconds`."""

    def __init__(self, message: str, seconds: float = 5.0) -> None:
        super().__init__(message)
        self.seconds = seconds


class Kube:
    """Blocking and thread-safe."""

    def __init__(self, on_request: OnRequest = lambda verb, resource, code: None) -> None:
        """Take the pod's own credentials, or those of $KUBECONFIG outside a cluster.

        Raises:
            KubeError: there are none.
        """
        settings = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=settings)
        except config.ConfigException:
            try:
                config.load_kube_config(client_configuration=settings)
            except config.ConfigException as error:
                raise KubeError(
                    f"There is no cluster to talk to; outside a cluster set KUBECONFIG ({error})."
                ) from None
        settings.connection_pool_maxsize = 16
        settings.retries = False
        self._client = client.ApiClient(settings)
        self._on_request = on_request
        self.clock = ServerClock()

    def answers(self) -> bool:
        """Whether the API server says anything at all; its time is known then."""
        try:
            self._call("GET", "/version")
        except Unavailable:
            return False
        except KubeError:
            return True
        return True

    def serves_transcription_jobs(self) -> bool:
        """Whether the API server knows the kind: without it there is nothing to watch."""
        try:
            kinds = self._call("GET", f"/apis/{GROUP}/{VERSION}")["resources"]
        except Missing:
            return False
        return any(kind["name"] == PLURAL for kind in kinds)

    # -- Jobs

    def create_job(self, body: Body) -> Body:
        """Strict: a misspelled field of an affinity, say, is refused and not left out."""
        return self._call("POST", _jobs(body["metadata"]["namespace"]), body, query={"fieldValidation": "Strict"})

    def get_job(self, namespace: str, name: str) -> Body:
        return self._call("GET", f"{_jobs(namespace)}/{name}")

    def patch_job(self, namespace: str, name: str, patch: Body) -> Body:
        return self._call("PATCH", f"{_jobs(namespace)}/{name}", patch)

    def delete_job(self, namespace: str, name: str, uid: str) -> None:
        self._call("DELETE", f"{_jobs(namespace)}/{name}", _delete_options(uid))

    # -- TranscriptionJobs

    def patch_status(self, namespace: str, name: str, status: Body, *, version: int) -> Body:
        """Raises Conflict where the job is no longer what it was at resourceVersion `version`."""
        patch = {"metadata": {"resourceVersion": str(version)}, "status": status}
        return self._call("PATCH", f"{_transcription_jobs(namespace)}/{name}/status", patch)

    def delete_transcription_job(self, namespace: str, name: str, uid: str) -> None:
        self._call("DELETE", f"{_transcription_jobs(namespace)}/{name}", _delete_options(uid))

    # -- lists

    def list_uids(self, resource: str, namespace: str, selector: str) -> tuple[int, frozenset[str]]:
        """UIDs of a kind's objects and the resourceVersion of the list; from the API server's cache, metadata alone.

        Args:
            resource: `api/v1/pods`, `apis/batch/v1/jobs`.
            namespace: empty for all.
        """
        prefix, _, plural = resource.rpartition("/")
        path = f"/{prefix}/namespaces/{namespace}/{plural}" if namespace else f"/{resource}"
        query = {"resourceVersion": "0", **({"labelSelector": selector} if selector else {})}
        found = self._call("GET", path, query=query, accept=METADATA_ONLY)
        uids = frozenset(item["metadata"]["uid"] for item in found["items"] or ())  # null where there is none
        return int(found["metadata"]["resourceVersion"]), uids

    # -- namespaces

    def is_going(self, namespace: str) -> bool:
        """Whether the namespace is being deleted; False where it may not be looked at."""
        try:
            found = self._call("GET", f"/api/v1/namespaces/{namespace}")
        except Missing:
            return True
        except Rejected:
            return False
        return "deletionTimestamp" in found["metadata"]

    # -- events

    def create_event(self, namespace: str, body: Body) -> None:
        self._call("POST", f"/api/v1/namespaces/{namespace}/events", body)

    def warnings_about(self, namespace: str, uid: str) -> list[Body]:
        """Warning events about one object, oldest first."""
        query = {"fieldSelector": f"involvedObject.uid={uid},type=Warning", "limit": "50"}
        found = self._call("GET", f"/api/v1/namespaces/{namespace}/events", query=query)["items"]
        return sorted(found, key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")

    def _call(
        self,
        verb: str,
        path: str,
        body: Body | None = None,
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
    ) -> Body:
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = MERGE_PATCH if verb == "PATCH" else "application/json"
        request = self._client.param_serialize(
            verb,
            path,
            query_params=list((query or {}).items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        code = 0
        try:
            response = self._client.call_api(*request, _request_timeout=REQUEST_SECONDS)
            code, text = response.status, response.read()
            self.clock.heard(response.getheader("Date"))
        except (client.ApiException, HTTPError, OSError) as error:
            raise Unavailable(f"The API server gave no answer: {error}") from None
        finally:
            self._on_request(verb, _resource(path), code)
        if 200 <= code < 300:
            answer = json_object(text)
            if answer is None:  # a proxy on the way
                raise Unavailable("The API server's answer is no JSON object.")
            return answer
        raise _error(verb, code, text, response.getheader("Retry-After"))


def _error(verb: str, code: int, text: bytes, retry_after: str | None) -> KubeError:
    message = _message(text) or f"The API server answered {code}."
    if code == 404:
        return Missing(message)
    if code == 409 and verb == "POST":
        return Exists(message)
    if code == 409 and verb == "PATCH":
        return Conflict(message)
    if code == 409 and verb == "DELETE":  # the precondition: another object bears the name by now
        return Missing(message)
    if code in (400, 422):
        return Rejected(message, final=not _is_policy(message), causes=tuple(_causes(text)))
    if code in (401, 403):
        return Rejected(message, final=False)
    return Unavailable(message, float(retry_after) if retry_after and retry_after.isdecimal() else 5.0)


def _is_policy(message: str) -> bool:
    """Admission policies and webhooks answer 422 and 400 too, and may change their mind."""
    return "ValidatingAdmissionPolicy" in message or "admission webhook" in message


def _message(text: bytes) -> str:
    try:
        return str(json.loads(text).get("message", ""))
    except (ValueError, AttributeError):
        return ""


def _causes(text: bytes) -> Iterator[tuple[str, str]]:
    """Field and fault of each cause (meta/v1 StatusCause), and unknown fields, which are in the message alone."""
    for field in _UNKNOWN_FIELD.findall(_message(text)):
        yield field, "is no known field"
    details = (json_object(text) or {}).get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    for cause in causes if isinstance(causes, list) else ():
        if isinstance(cause, dict) and cause.get("field"):
            yield str(cause["field"]), str(cause.get("message", ""))


def _delete_options(uid: str) -> Body:
    """Only this very object, not one that has come to bear its name; its dependents follow."""
    return {"propagationPolicy": "Background", "preconditions": {"uid": uid}}


def _jobs(namespace: str) -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs"


def _transcription_jobs(namespace: str) -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}"


def _resource(path: str) -> str:
    """`jobs`, `transcriptionjobs/status`: what a path is about, without names."""
    _, namespaced, rest = path.partition("/namespaces/")
    parts = rest.split("/")
    if namespaced:
        return "/".join((*parts[1:2], *parts[3:4])) or "namespaces"
    last = path.rpartition("/")[2]
    return "discovery" if last == VERSION else last
