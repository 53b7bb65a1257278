"""The Kubernetes API as a source of pods, through kubernetes_asyncio. Imported only where pods are looked for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from kubernetes_asyncio import client, config
from kubernetes_asyncio.client.exceptions import ApiException
from kubernetes_asyncio.watch import Watch

from sage_common.errors import ConfigurationError, describe
from sage_llm_coordinator.pods.pod_source import Change, ExpiredVersionError, PodEvent, PodSourceError

CONNECT_SECONDS = 10.0
LIST_SECONDS = 30.0
# Beyond the end of a watch, until the connection counts as dead.
SILENCE_SECONDS = 10.0
GONE = 410
OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_CHANGES = {"ADDED": Change.SET, "MODIFIED": Change.SET, "DELETED": Change.DELETED, "BOOKMARK": Change.BOOKMARK}


class KubernetesApi:
    """A connection to one cluster. ``open`` it, and ``close`` it when done."""

    def __init__(self, opened: client.ApiClient) -> None:
        self._client = opened
        self._core = client.CoreV1Api(opened)

    @classmethod
    async def open(cls, kubeconfig: str = "") -> KubernetesApi:
        """Return a connection by a kubeconfig file, or by the service account of this pod.

        Raises:
            ConfigurationError: neither says how the cluster is reached.
        """
        settings = client.Configuration()
        try:
            if kubeconfig:
                await config.load_kube_config(kubeconfig, client_configuration=settings, persist_config=False)
            else:
                config.load_incluster_config(settings)
        except (config.ConfigException, OSError, ValueError) as error:
            raise ConfigurationError(
                f"cannot tell how the Kubernetes cluster is reached: {error}; run in a pod whose service account is "
                "mounted (automountServiceAccountToken), or set SAGE_LLM_COORDINATOR_KUBERNETES_KUBECONFIG",
                code="no_cluster",
            ) from None
        return cls(client.ApiClient(configuration=settings))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def pods(self, namespace: str, selector: str, watch_seconds: int) -> NamespacePods:
        """Return the pods of one namespace that a label selector matches."""
        return NamespacePods(self._core, namespace, selector, watch_seconds)


class NamespacePods:
    """The pods of one namespace."""

    def __init__(self, core: client.CoreV1Api, namespace: str, selector: str, watch_seconds: int) -> None:
        self._core = core
        self._namespace = namespace
        self._selector = selector
        self._watch_seconds = watch_seconds

    async def list(self) -> tuple[Sequence[Mapping[str, Any]], str]:
        """Return the pods and the version to watch from. Raises PodSourceError."""
        with _translated("list"):
            timeout = aiohttp.ClientTimeout(total=LIST_SECONDS, sock_connect=CONNECT_SECONDS)
            response = await self._core.list_namespaced_pod(
                self._namespace, label_selector=self._selector, _preload_content=False, _request_timeout=timeout
            )
            async with response:
                body = await response.read()
                if response.status != 200:
                    raise _refused("list", response.status, body, response.headers.get("Retry-After"))
            answer = orjson.loads(body)
            return answer["items"], str(answer["metadata"]["resourceVersion"])

    async def watch(self, version: str) -> AsyncIterator[PodEvent]:
        """Give the changes after ``version``; see ``PodSource``."""
        timeout = aiohttp.ClientTimeout(
            sock_connect=CONNECT_SECONDS, sock_read=self._watch_seconds + SILENCE_SECONDS, total=None
        )
        with _translated("watch"):
            async with Watch(return_type="object") as watch:
                events = watch.stream(
                    self._core.list_namespaced_pod,
                    self._namespace,
                    label_selector=self._selector,
                    resource_version=version,
                    allow_watch_bookmarks=True,
                    timeout_seconds=self._watch_seconds,
                    _request_timeout=timeout,
                )
                async for event in events:
                    yield _event(event)


def own_namespace() -> str:
    """Return the namespace of the pod that this process runs in. Raises ConfigurationError where it runs in none."""
    try:
        return OWN_NAMESPACE.read_text(encoding="utf-8").strip()
    except OSError:
        raise ConfigurationError(
            "pods are looked for, and this is no pod whose namespace could be taken; set "
            "SAGE_LLM_COORDINATOR_KUBERNETES_NAMESPACES to a JSON list such as '[\"sage\"]'",
            code="no_namespace",
        ) from None


def _event(event: object) -> PodEvent:
    # A line that is no JSON, as one that was cut off, comes as it is.
    if not isinstance(event, dict):
        raise PodSourceError(f"the watch broke off in {str(event)[:80]!r}")
    change = _CHANGES.get(str(event.get("type")))
    if change is None:
        raise PodSourceError(f"the watch has an event {event.get('type')!r}")
    pod = event["raw_object"]
    return PodEvent(change, pod, str(pod["metadata"]["resourceVersion"]))


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    """Raise what the library and the connection raise as PodSourceError."""
    try:
        yield
    except ApiException as error:
        if error.status == GONE:
            raise ExpiredVersionError(f"{what} of pods: {error.reason}") from None
        raise PodSourceError(f"{what} of pods answered {error.status}: {error.reason}") from None
    except PodSourceError:
        raise
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
        raise PodSourceError(f"{what} of pods broke off: {describe(error)}") from None
    except Exception as error:
        # The library raises a plain Exception for a line that it cannot read.
        raise PodSourceError(f"{what} of pods has an answer that is none: {type(error).__name__}: {error}") from None


def _refused(what: str, status: int, body: bytes, retry_after: str | None) -> PodSourceError:
    try:
        reason = str(orjson.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        reason = body[:200].decode("utf-8", "replace")
    text = f"{what} of pods answered {status}: {reason}"
    if status == GONE:
        return ExpiredVersionError(text)
    seconds = float(retry_after) if retry_after and retry_after.isdecimal() else None
    return PodSourceError(text, seconds)
