"""Rights tried with real requests: the chart's roles, tokens of ServiceAccounts, and all that an API server serves.

Free of pytest. Authorization comes before everything else in the API server: whatever else is wrong with a request,
403 says that it was not allowed, and any other code that it was.
"""

from __future__ import annotations

import base64
import json
import ssl
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import yaml

from tests.chart.helm import CHART, helm
from tests.cluster.build import kubernetes_version
from tests.e2e.cluster import Cluster

RELEASE = "rights"
JOBS = "/apis/transcription-operator.io/v1alpha1/namespaces/{}/transcriptionjobs"
BATCH = "/apis/batch/v1/namespaces/{}/jobs"
CORE = "/api/v1/namespaces/{}"
FORBIDDEN = 403
NOTHING = "labelSelector=there-is=nothing"
"""What may be deleted as a collection is nothing, should it be allowed."""
_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_METHODS = {
    "get": "GET",
    "list": "GET",
    "watch": "GET",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
    "deletecollection": "DELETE",
}
_NAMED = ("get", "update", "patch", "delete")
_CONTENT = {"PATCH": "application/merge-patch+json"}


def rendered(namespace: str, *watched: str) -> list[dict[str, Any]]:
    """The chart's ServiceAccount, roles and bindings for these namespaces; without any, for the whole cluster."""
    settings = [f"--set=watch.namespaces[{number}]={name}" for number, name in enumerate(watched)]
    show = [f"--show-only=templates/{part}.yaml" for part in ("rbac", "serviceaccount")]
    version = f"--kube-version={kubernetes_version()}"
    text = helm("template", RELEASE, str(CHART), f"--namespace={namespace}", version, *show, *settings).stdout
    return [one for one in yaml.safe_load_all(text) if one]


def token_of(cluster: Cluster, account: str, namespace: str) -> str:
    return cluster.kubectl("create", "token", account, f"--namespace={namespace}").stdout.strip()


def settings_of(cluster: Cluster) -> dict[str, Any]:
    """The kubeconfig of the current context, with everything in it."""
    view = ("config", "view", "--minify", "--raw", "--flatten", "--output=json")
    return dict(json.loads(cluster.kubectl(*view).stdout))


def kubeconfig_with(cluster: Cluster, token: str, folder: Path) -> Path:
    """The cluster's kubeconfig for whom this token belongs to."""
    config = settings_of(cluster)
    config["users"] = [{"name": config["contexts"][0]["context"]["user"], "user": {"token": token}}]
    file = folder / "kubeconfig"
    file.write_text(json.dumps(config))
    return file


@dataclass(frozen=True, slots=True)
class Served:
    """One verb on one resource that the API server serves; `resource` with its subresource, as a role names it."""

    group: str
    version: str
    resource: str
    verb: str
    namespaced: bool

    @property
    def right(self) -> tuple[str, str, str]:
        return self.group, self.resource, self.verb

    def path(self, namespace: str, name: str) -> str:
        """Where to ask for it; without a namespace for all of them."""
        plural, _, part = self.resource.partition("/")
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        place = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        named = f"/{name}" if part or self.verb in _NAMED else ""
        return f"{root}{place}/{plural}{named}" + (f"/{part}" if part else "")


class Caller:
    """Asks the API server with a token and nothing else."""

    def __init__(self, cluster: Cluster, token: str) -> None:
        server = settings_of(cluster)["clusters"][0]["cluster"]
        self._url, self._token = server["server"], token
        authority = base64.b64decode(server["certificate-authority-data"]).decode()
        trust = urllib.request.HTTPSHandler(context=ssl.create_default_context(cadata=authority))
        self._opener = urllib.request.build_opener(trust)

    def call(self, verb: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, Any]]:
        """Status code and answer; `verb` as a role names it."""
        method = _METHODS[verb]
        data = json.dumps(body).encode() if body is not None else None
        kind = {"Content-Type": _CONTENT.get(method, "application/json")}
        sent = {"Authorization": f"Bearer {self._token}", "Accept": "application/json", **kind, **headers}
        request = urllib.request.Request(f"{self._url}{path}", data, sent, method=method)
        try:
            with self._opener.open(request, timeout=30) as answer:
                return answer.status, _json(answer.read())
        except HTTPError as error:
            return error.code, _json(error.read())

    def may(self, served: Served, namespace: str, name: str) -> bool:
        """Whether it is allowed, found out by doing it with what harms nobody: no name, no content, no run."""
        path = served.path(namespace, name)
        if served.verb in ("create", "update", "patch"):
            code, _ = self.call(served.verb, f"{path}?dryRun=All", {})
        elif served.verb in ("delete", "deletecollection"):
            code, _ = self.call(served.verb, f"{path}?{NOTHING}&dryRun=All")
        elif served.verb == "watch":
            code, _ = self.call(served.verb, f"{path}?watch=true&timeoutSeconds=1&{NOTHING}")
        else:
            code, _ = self.call(served.verb, path)
        return code != FORBIDDEN


def everything_served(cluster: Cluster) -> Iterator[Served]:
    """Every verb on every resource and subresource of this API server."""
    caller = Caller(cluster, token_of_anybody(cluster))
    for root in ("/api", "/apis"):
        _, found = caller.call("get", root, Accept=_DISCOVERY)
        for group in found["items"]:
            for version in group["versions"]:
                for resource in version["resources"]:
                    namespaced = resource["scope"] == "Namespaced"
                    parts = [("", resource), *((f"/{s['subresource']}", s) for s in resource.get("subresources", ()))]
                    for part, holder in parts:
                        for verb in holder["verbs"]:
                            yield Served(
                                group["metadata"].get("name", ""),
                                version["version"],
                                resource["resource"] + part,
                                verb,
                                namespaced,
                            )


def token_of_anybody(cluster: Cluster) -> str:
    """Whoever is authenticated may ask what is served."""
    return token_of(cluster, "default", "default")


def _json(text: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except ValueError:  # a watch of nothing, or a page for people
        return {}
