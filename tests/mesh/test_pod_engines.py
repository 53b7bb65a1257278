"""Pods join a mesh of real processes by their label, and leave it, with requests under way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from fixtures.cluster_api import ClusterApi, cluster_api, pod
from fixtures.process_mesh import process_mesh, until_engines

from sage_benchmark.gateway_benchmark import static_engine
from sage_benchmark.isolated_mesh import IsolatedMesh

TOKENS = 60
BODY = {"model": "static", "messages": [{"role": "user", "content": "hi"}], "stream": True}


@dataclass
class Rig:
    """A mesh without engines of its own, beside a cluster."""

    mesh: IsolatedMesh
    cluster: ClusterApi
    ports: dict[str, int] = field(default_factory=dict)

    def pod(self, name: str, **options: Any) -> dict[str, Any]:
        """A pod whose server runs here."""
        return pod(name, address="127.0.0.1", port=self.ports[name], **options)

    async def until_pods(self, *names: str) -> None:
        """Wait until these, and no others, are engines that are ready."""

        def there(engines: list[dict[str, Any]]) -> bool:
            ready = {one["phase"].lower() for one in engines} <= {"ready"}
            # An engine's id is the pod's name, a number from the second of that name on, and a tail.
            return ready and sorted("-".join(one["engine_id"].split("-")[:2]) for one in engines) == sorted(names)

        await until_engines(self.mesh, there, 20)


@asynccontextmanager
async def rigged(directory: Path) -> AsyncIterator[Rig]:
    async with cluster_api() as cluster:
        settings = {
            "SAGE_LLM_COORDINATOR_ENGINES": "[]",
            "SAGE_LLM_COORDINATOR_KUBERNETES_POD_SELECTOR": "sage.internal/engine",
            "SAGE_LLM_COORDINATOR_KUBERNETES_NAMESPACES": '["sage"]',
            "SAGE_LLM_COORDINATOR_KUBERNETES_KUBECONFIG": str(cluster.kubeconfig(directory / "kubeconfig")),
        }
        with ExitStack() as running:

            def start() -> IsolatedMesh:
                replicas = {"llm-coordinator": 2}
                return running.enter_context(process_mesh(directory / "mesh", replicas=replicas, settings=settings))

            urls = {
                name: running.enter_context(static_engine("--tokens", str(TOKENS), "--gap-ms", "20"))
                for name in ("vllm-a", "vllm-b")
            }
            rig_ports = {name: urlsplit(url).port or 0 for name, url in urls.items()}
            # The cluster has to answer meanwhile; a mesh without an engine is up, and not ready.
            cluster.set(pod("vllm-a", address="127.0.0.1", port=rig_ports["vllm-a"]))
            mesh = await asyncio.to_thread(start)
            try:
                yield Rig(mesh, cluster, rig_ports)
            finally:
                await asyncio.to_thread(running.close)


async def stream(session: aiohttp.ClientSession, mesh: IsolatedMesh) -> tuple[int, int]:
    """Ask; return the status and how many tokens came."""
    async with session.post(f"{mesh.gateway_url}/v1/chat/completions", json=BODY) as response:
        events = [line for line in (await response.text()).splitlines() if line.startswith("data: ")]
        if response.status != 200 or not events or events[-1] != "data: [DONE]":
            return response.status, -1
        choices = [json.loads(line[6:])["choices"] for line in events[:-1]]
        return 200, sum(bool(one and one[0]["delta"].get("content")) for one in choices)


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_pods_join_drain_and_leave_with_requests_under_way(tmp_path: Path) -> None:
    async with rigged(tmp_path) as rig, aiohttp.ClientSession() as session:
        await rig.until_pods("vllm-a")
        assert await stream(session, rig.mesh) == (200, TOKENS)

        rig.cluster.set(rig.pod("vllm-b", ready=False))
        rig.cluster.bookmark()
        rig.cluster.set(rig.pod("vllm-b"))
        await rig.until_pods("vllm-a", "vllm-b")

        # Deleted with streams on it: they end there, and what comes meanwhile is the other's.
        under_way = [asyncio.create_task(stream(session, rig.mesh)) for _ in range(12)]
        await asyncio.sleep(0.3)  # a stream takes more than a second
        rig.cluster.set(rig.pod("vllm-a", deleted=True))
        later = [asyncio.create_task(stream(session, rig.mesh)) for _ in range(12)]
        assert await asyncio.gather(*under_way, *later) == [(200, TOKENS)] * 24
        await rig.until_pods("vllm-b")
        rig.cluster.delete("vllm-a")

        # An API that is away, and has forgotten, takes no engine with it.
        rig.cluster.refusal = (503, "etcdserver: no leader", {})
        rig.cluster.compact()
        rig.cluster.cut_watches()
        before = len(rig.cluster.lists) + len(rig.cluster.watches)
        while len(rig.cluster.lists) + len(rig.cluster.watches) < before + 4:
            assert await stream(session, rig.mesh) == (200, TOKENS)
        rig.cluster.refusal = None
        rig.cluster.set(rig.pod("vllm-a"))
        await rig.until_pods("vllm-a", "vllm-b")

        # Whoever has them is killed: the other coordinator takes them.
        rig.mesh.process(rig.mesh.processes("llm-coordinator")[0].name).kill()
        await rig.until_pods("vllm-a", "vllm-b")
        assert await stream(session, rig.mesh) == (200, TOKENS)
