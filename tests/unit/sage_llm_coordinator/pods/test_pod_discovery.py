"""Watches of several namespaces, and what is said where none can be."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from fixtures.cluster_api import cluster_api, pod
from fixtures.eventually import eventually
from prometheus_client import CollectorRegistry

from sage_common.errors import ConfigurationError
from sage_llm_coordinator.pods.engine_pod import EnginePod
from sage_llm_coordinator.pods.pod_discovery import discover_pods
from sage_llm_coordinator.pods.settings import KubernetesSettings


class Rounds:
    """Keeps what each round was given."""

    def __init__(self) -> None:
        self.given: list[tuple[list[str], list[str]]] = []

    async def reconcile(self, pods: Iterable[EnginePod], unlisted: Iterable[str]) -> None:
        self.given.append((sorted(f"{one.namespace}/{one.name}" for one in pods), sorted(unlisted)))

    async def stop(self) -> None:
        """Nothing runs."""


def settings(kubeconfig: Path, *namespaces: str) -> KubernetesSettings:
    return KubernetesSettings(
        pod_selector="sage.internal/engine", namespaces=namespaces, kubeconfig=str(kubeconfig), watch_seconds=30
    )


async def test_a_namespace_that_cannot_be_listed_is_said_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rounds: Any = Rounds()
    registry = CollectorRegistry()

    def current(namespace: str) -> float | None:
        return registry.get_sample_value("sage_coordinator_pods_current", {"namespace": namespace})

    async with cluster_api() as cluster:
        cluster.set(pod("a"))
        cluster.refused_namespaces = {"team-b"}
        given = settings(cluster.kubeconfig(tmp_path / "kubeconfig"), "sage", "team-b")
        discovery = await discover_pods(given, rounds, registry)
        try:
            await eventually(lambda: (["sage/a"], ["team-b"]) in rounds.given)
            await eventually(lambda: (current("sage"), current("team-b")) == (1, 0))
            logged = capsys.readouterr()
            (line,) = [one for one in (logged.out + logged.err).splitlines() if "cannot be followed" in one]
            assert "team-b" in line
            assert "403" in line
            assert "forbidden" in line
            cluster.refused_namespaces = set()
            await eventually(lambda: (["sage/a"], []) in rounds.given)
            ready = {"namespace": "sage", "stage": "ready"}
            assert registry.get_sample_value("sage_coordinator_pods", ready) == 1
            assert current("team-b") == 1
        finally:
            await discovery.stop()


async def test_a_client_that_is_not_installed_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes_asyncio", None)
    monkeypatch.delitem(sys.modules, "sage_llm_coordinator.pods.kubernetes_api", raising=False)
    rounds: Any = Rounds()
    with pytest.raises(ConfigurationError, match=r"sage-llm-coordinator\[kubernetes\]"):
        await discover_pods(settings(tmp_path / "none", "sage"), rounds, CollectorRegistry())
