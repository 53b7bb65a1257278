"""The mesh in front of simulated engines, with one of its policies."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc

from sage.inference.v1 import engine_pb2
from sage.scheduler.v1 import scheduler_pb2, scheduler_pb2_grpc
from sage_benchmark.http_client import fetch
from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh
from sage_benchmark.live.policy_switch import switch_policy
from sage_benchmark.live.simulated_pool import SimulatedPool
from sage_benchmark.simulated.engine_config import EngineModelConfig
from sage_benchmark.workload.request_body import ModelNames
from sage_common.errors import UnavailableError
from sage_control_plane.request.features import MAX_BLOCK_BYTES

READY_SECONDS = 30.0
CALL_SECONDS = 5.0
POLL_SECONDS = 0.1


class MeshWithPolicy:
    """The mesh while one policy is in force; the mesh may be shared with other policies."""

    def __init__(self, mesh: IsolatedMesh, channel: grpc.Channel, pool: SimulatedPool, policy: str, name: str) -> None:
        self._mesh = mesh
        self._channel = channel
        self._pool = pool
        self._policy = policy
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    @property
    def url(self) -> str:
        return self._mesh.gateway_url

    def prepare(self) -> None:
        _wait_for_engines(self._channel, self._pool)
        switch_policy(self._channel, self._policy)

    def cpu_seconds(self) -> Mapping[str, float]:
        seconds = {}
        for status in self._mesh.state.processes:
            times = self._mesh.process(status.name).cpu_times()
            seconds[status.name] = times.user + times.system
        return seconds


@contextmanager
def mesh_systems(
    directory: Path,
    pool: SimulatedPool,
    policies: Sequence[str],
    prefix: str = "",
    *,
    suffix: str = "",
    affinity: bool = True,
) -> Iterator[list[MeshWithPolicy]]:
    """Run one mesh in front of the engines; gives a system for each policy, named by it, ``prefix`` and ``suffix``.

    Args:
        affinity: whether the mesh is to see which prompts begin alike.

    Raises:
        UnavailableError: the mesh or an engine did not become ready.
    """
    config = EngineModelConfig()
    engines = [
        {"kind": "openai", "name": f"sim-{number}", "url": url, "max_concurrency": config.max_num_seqs}
        for number, url in enumerate(pool.urls, start=1)
    ]
    settings = {"SAGE_LLM_COORDINATOR_ENGINES": json.dumps(engines)}
    if not affinity:
        # Only whole blocks count, and no prompt of a benchmark fills one of these.
        settings["SAGE_CLASSIFICATION_BLOCK_BYTES"] = str(MAX_BLOCK_BYTES)
    light = {"embed-executor": 0, "dataflow-worker": 0}
    with isolated_mesh(directory, replicas=light, settings=settings) as mesh:
        address = f"127.0.0.1:{mesh.processes('scheduler')[0].ports['grpc']}"
        with grpc.insecure_channel(address) as channel:
            _wait_for_engines(channel, pool)
            _wait_for_gateway(mesh.gateway_url, ModelNames())
            yield [MeshWithPolicy(mesh, channel, pool, policy, f"{prefix}{policy}{suffix}") for policy in policies]


def _wait_for_engines(channel: grpc.Channel, pool: SimulatedPool) -> None:
    """Wait until the scheduler could send work to every engine."""
    stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)  # type: ignore[no-untyped-call]
    deadline = time.monotonic() + READY_SECONDS
    while True:
        books = stub.ListEngines(scheduler_pb2.ListEnginesRequest(), timeout=CALL_SECONDS).engines
        ready = {
            book.state.spec.url
            for book in books
            if book.state.phase == engine_pb2.ENGINE_PHASE_READY and book.breaker != "open"
        }
        if set(pool.urls) <= ready:
            return
        if time.monotonic() > deadline:
            missing = ", ".join(sorted(set(pool.urls) - ready))
            raise UnavailableError(f"the scheduler has no ready engine at {missing} after {READY_SECONDS:g} s")
        time.sleep(POLL_SECONDS)


def _wait_for_gateway(url: str, models: ModelNames) -> None:
    deadline = time.monotonic() + READY_SECONDS
    wanted = {models.llm, models.embedding}
    listed: set[str] = set()
    while time.monotonic() < deadline:
        try:
            listed = {model["id"] for model in json.loads(fetch(f"{url}/v1/models"))["data"]}
        except OSError:
            listed = set()
        if wanted <= listed:
            return
        time.sleep(POLL_SECONDS)
    raise UnavailableError(f"the gateway lists {sorted(listed)} after {READY_SECONDS:g} s; {sorted(wanted)} are needed")
