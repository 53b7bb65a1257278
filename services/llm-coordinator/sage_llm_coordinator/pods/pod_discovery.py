"""Engines found by label: watches of every namespace, and the rounds that make engines of their pods."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sage_common.errors import ConfigurationError
from sage_common.tasks import end_tasks
from sage_llm_coordinator.pods.pod_engines import PodEngines
from sage_llm_coordinator.pods.pod_source import PodSource
from sage_llm_coordinator.pods.pod_watch import PodWatch
from sage_llm_coordinator.pods.settings import KubernetesSettings
from sage_platform.background import keep_running

# Between rounds where nothing changes: engines of other coordinators come and go without a word of the cluster.
ROUND_SECONDS = 0.5


class Closable(Protocol):
    """A connection."""

    async def close(self) -> None:
        """Close it."""
        ...


class PodDiscovery:
    """Follows pods and has engines made of them, from ``start`` to ``stop``."""

    def __init__(self, api: Closable, sources: dict[str, PodSource], engines: PodEngines) -> None:
        self._api = api
        self._engines = engines
        self._changed = asyncio.Event()
        self.watches = [PodWatch(namespace, source, self._changed.set) for namespace, source in sources.items()]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Follow them from now on."""
        self._tasks = [keep_running(watch.run, name=f"pods-{watch.namespace}") for watch in self.watches]
        self._tasks.append(keep_running(self._rounds, name="pod-engines"))

    async def stop(self) -> None:
        """Stop following; the engines stay until the coordinator stops them."""
        await end_tasks(*self._tasks)
        await self._engines.stop()
        await self._api.close()

    async def _rounds(self) -> None:
        while True:
            self._changed.clear()
            # Of a namespace that was not listed yet, a pod that is missing is one that is not known; the others go on.
            unlisted = frozenset(watch.namespace for watch in self.watches if not watch.listed)
            pods = [pod for watch in self.watches for pod in watch.pods.values()]
            await self._engines.reconcile(pods, unlisted)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), ROUND_SECONDS)


class PodGauges(Collector):
    """How many pods there are, by stage, and whether the cluster answers."""

    def __init__(self, watches: Iterable[PodWatch]) -> None:
        self._watches = list(watches)

    def collect(self) -> Iterator[Metric]:
        """Read them."""
        pods = GaugeMetricFamily(
            "sage_coordinator_pods", "Pods that are engines, by stage.", labels=["namespace", "stage"]
        )
        current = GaugeMetricFamily(
            "sage_coordinator_pods_current",
            "Whether the Kubernetes API answers for the namespace: 1 or 0.",
            labels=["namespace"],
        )
        for watch in self._watches:
            stages: dict[str, int] = {}
            for pod in list(watch.pods.values()):
                stages[pod.stage.value] = stages.get(pod.stage.value, 0) + 1
            for stage, count in stages.items():
                pods.add_metric([watch.namespace, stage], count)
            current.add_metric([watch.namespace], int(watch.current))
        yield from (pods, current)


async def discover_pods(settings: KubernetesSettings, engines: PodEngines, registry: CollectorRegistry) -> PodDiscovery:
    """Connect to the cluster and begin to follow its pods.

    Raises:
        ConfigurationError: the client is not installed, or nothing says how the cluster is reached.
    """
    try:
        from sage_llm_coordinator.pods.kubernetes_api import KubernetesApi, own_namespace
    except ImportError:
        raise ConfigurationError(
            "SAGE_LLM_COORDINATOR_KUBERNETES_POD_SELECTOR is set, and the client of the Kubernetes API is not "
            "installed; `pip install 'sage-llm-coordinator[kubernetes]'` installs it",
            code="no_kubernetes_client",
        ) from None
    namespaces = settings.namespaces or (own_namespace(),)
    api = await KubernetesApi.open(settings.kubeconfig)
    sources: dict[str, PodSource] = {
        namespace: api.pods(namespace, settings.pod_selector, settings.watch_seconds) for namespace in namespaces
    }
    discovery = PodDiscovery(api, sources, engines)
    registry.register(PodGauges(discovery.watches))
    discovery.start()
    return discovery
