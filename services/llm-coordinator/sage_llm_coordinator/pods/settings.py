"""Settings of the engines that are found as pods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """Which pods of a Kubernetes cluster are engines, and how they are followed.

    Attributes:
        pod_selector: label selector of the pods that are engines, such as sage.internal/engine; empty looks for none.
        namespaces: where they are; empty for the coordinator's own namespace.
        kubeconfig: file that says how the cluster is reached; empty for the service account of the coordinator's pod.
        api_key_file: file that holds the key that the engines ask for; empty where they ask for none.
        watch_seconds: how long one watch of the pods lasts before the next; a dead connection is noticed by then.
        drain_seconds: longest wait for the requests of an engine whose pod is being deleted.
    """

    pod_selector: str = ""
    namespaces: tuple[str, ...] = ()
    kubeconfig: str = ""
    api_key_file: str = ""
    watch_seconds: Annotated[int, Ge(1)] = 60
    drain_seconds: Annotated[float, Gt(0)] = 600.0
