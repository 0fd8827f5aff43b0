"""A release of the chart on a cluster, by the real helm."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.chart.helm import CHART, require
from tests.e2e.cluster import Cluster

RELEASE = "speech"
DEPLOYMENT = f"deployment/{RELEASE}-transcription-operator"


def image_settings(key: str, image: str) -> tuple[str, str]:
    repository, _, tag = image.rpartition(":")
    return f"{key}.repository={repository}", f"{key}.tag={tag}"


@dataclass(frozen=True)
class Release:
    """One release of the chart, in a namespace of its own in which its jobs run too."""

    cluster: Cluster
    namespace: str
    image: str

    def helm(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        place = (f"--namespace={self.namespace}", f"--kubeconfig={self.cluster.kubeconfig}")
        done = subprocess.run([str(require("helm")), *arguments, *place], capture_output=True, text=True, timeout=900)
        assert not check or done.returncode == 0, f"helm {arguments[0]}: {done.stdout}{done.stderr}"
        return done

    def install(self, *settings: str, values: Path | None = None) -> str:
        """Install or upgrade, and wait until the operator is ready; what helm prints."""
        images = [*image_settings("image", self.image), *image_settings("worker.image", self.cluster.worker_image)]
        done = self.helm(
            "upgrade",
            "--install",
            RELEASE,
            str(CHART),
            "--take-ownership",  # of the definition, which other tests leave behind
            "--wait",
            "--timeout=3m",
            *([f"--values={values}"] if values else []),
            *(f"--set-string={setting}" for setting in images),
            *(f"--set={setting}" for setting in ("watch.resyncSeconds=2", *settings)),
        )
        return done.stdout

    def install_watching_itself(self, *settings: str) -> str:
        """Jobs in other namespaces are left alone."""
        return self.install(f"watch.namespaces[0]={self.namespace}", *settings)

    def uninstall(self) -> None:
        self.helm("uninstall", RELEASE, "--wait", "--timeout=2m", "--ignore-not-found")

    def log(self) -> str:
        return self.cluster.kubectl("logs", DEPLOYMENT, f"--namespace={self.namespace}").stdout

    def metrics(self) -> str:
        """What the operator's Service gives, read as an administrator would: through the API server."""
        service = f"{RELEASE}-transcription-operator:http"
        path = f"/api/v1/namespaces/{self.namespace}/services/{service}/proxy/metrics"
        return self.cluster.kubectl("get", "--raw", path).stdout

    def refused_requests(self) -> list[str]:
        """Also what is refused in other namespaces, such as one that is being deleted, where those are watched."""
        pattern = r'^transcription_operator_api_requests_total\{[^}]*code="40[13]".*$'
        return re.findall(pattern, self.metrics(), re.MULTILINE)
