"""The mesh in front of a benchmark's engines, with one of its policies."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import grpc

from sage.inference.v1 import engine_pb2
from sage.scheduler.v1 import scheduler_pb2, scheduler_pb2_grpc
from sage_benchmark.http_client import fetch
from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh
from sage_benchmark.live.class_labels import SAGE_LABELS, ClassLabels
from sage_benchmark.live.simulated_pool import SimulatedPool
from sage_benchmark.live.system_under_load import Contender
from sage_benchmark.simulated_engine.engine_config import SimulatedModels
from sage_common.errors import UnavailableError
from sage_control_plane.request.features import MAX_BLOCK_BYTES

READY_SECONDS = 30.0
CALL_SECONDS = 10.0
POLL_SECONDS = 0.05


class MeshWithPolicy:
    """The mesh while one policy is in force; the mesh may be shared with other policies."""

    labels: ClassLabels = SAGE_LABELS

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
    def mesh(self) -> IsolatedMesh:
        """The mesh."""
        return self._mesh

    @property
    def url(self) -> str:
        return self._mesh.gateway_url

    @property
    def urls(self) -> Sequence[str]:
        return [self._mesh.gateway_url]

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
    named: Mapping[str, str],
    *,
    affinity: bool = True,
    told: bool = True,
    caches: bool = False,
) -> Iterator[list[MeshWithPolicy]]:
    """Run one mesh in front of the engines; gives a system for each policy.

    Args:
        named: policies by the names that their systems are to have.
        affinity: whether the mesh is to see which prompts begin alike.
        told: whether the engines are registered with how many requests they compute at once.
        caches: whether the mesh reads what the engines tell of their prefix caches.

    Raises:
        UnavailableError: the mesh or an engine did not become ready.
    """
    capacity = {"max_concurrency": pool.config.max_num_seqs} if told else {}
    engines = [
        {"kind": "openai", "name": f"engine-{number}", "url": url} | capacity
        for number, url in enumerate(pool.urls, start=1)
    ]
    if caches:
        for engine, (events, replay) in zip(engines, pool.kv_events, strict=True):
            engine |= {"kv_events": events, "kv_events_replay": replay}
    settings = {"SAGE_LLM_COORDINATOR_ENGINES": json.dumps(engines)}
    if not affinity:
        # Only whole blocks count, and no prompt of a benchmark fills one of these.
        settings["SAGE_CLASSIFICATION_BLOCK_BYTES"] = str(MAX_BLOCK_BYTES)
    light = {"embed-executor": 0, "dataflow-worker": 0}
    with isolated_mesh(directory, replicas=light, settings=settings) as mesh:
        address = f"127.0.0.1:{mesh.processes('scheduler')[0].ports['grpc']}"
        with grpc.insecure_channel(address) as channel:
            _wait_for_engines(channel, pool)
            _wait_for_gateway(mesh.gateway_url, pool.models)
            yield [MeshWithPolicy(mesh, channel, pool, policy, name) for name, policy in named.items()]


@contextmanager
def running_mesh_contenders(
    root: Path,
    pool: SimulatedPool,
    named: Mapping[str, str],
    *,
    told: bool,
    affinity: bool = True,
    caches: bool = False,
) -> Iterator[list[Contender]]:
    """Run one mesh; gives a contender for each of the policies.

    Args:
        root: of the mesh's directory.
        named: policies by their names in the report.
        told, affinity, caches: see ``mesh_systems``.

    Raises:
        UnavailableError: the mesh or an engine did not become ready.
    """
    with mesh_systems(_directory(root), pool, named, told=told, affinity=affinity, caches=caches) as systems:
        yield [Contender.running(system, _told(pool, told=told)) for system in systems]


def mesh_contenders(root: Path, pool: SimulatedPool, named: Mapping[str, str], *, told: bool) -> list[Contender]:
    """Return a contender for each of the policies; each start of one is a new mesh. See ``running_mesh_contenders``."""
    return [
        Contender(name, partial(_fresh_mesh, root, pool, name, policy, told=told), _told(pool, told=told))
        for name, policy in named.items()
    ]


@contextmanager
def _fresh_mesh(root: Path, pool: SimulatedPool, name: str, policy: str, *, told: bool) -> Iterator[MeshWithPolicy]:
    with mesh_systems(_directory(root), pool, {name: policy}, told=told) as [system]:
        yield system


def _directory(root: Path) -> Path:
    # One for each start: a mesh finds nothing of an earlier one.
    return Path(tempfile.mkdtemp(prefix="mesh-", dir=root))


def _told(pool: SimulatedPool, *, told: bool) -> str:
    seats = pool.config.max_num_seqs
    capacity = f"`max_concurrency` {seats} of each engine" if told else "no capacity (it asks the servers)"
    return f"{SAGE_LABELS.described}; {capacity}"


def _wait_for_engines(channel: grpc.Channel, pool: SimulatedPool) -> None:
    """Wait until the scheduler could send work to every engine."""
    stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)  # type: ignore[no-untyped-call]
    deadline = time.monotonic() + READY_SECONDS
    while True:
        engines = stub.ListEngines(scheduler_pb2.ListEnginesRequest(), timeout=CALL_SECONDS).engines
        ready = {
            entry.state.spec.url
            for entry in engines
            if entry.state.phase == engine_pb2.ENGINE_PHASE_READY and entry.breaker != "open"
        }
        if set(pool.urls) <= ready:
            return
        if time.monotonic() > deadline:
            missing = ", ".join(sorted(set(pool.urls) - ready))
            raise UnavailableError(f"the scheduler has no ready engine at {missing} after {READY_SECONDS:g} s")
        time.sleep(POLL_SECONDS)


def _wait_for_gateway(url: str, models: SimulatedModels) -> None:
    deadline = time.monotonic() + READY_SECONDS
    wanted = {models.llm, models.embedding} - {""}
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


class PolicySwitchError(UnavailableError):
    """The scheduler does not go by the policy that was set."""


def switch_policy(channel: grpc.Channel, policy: str, *, timeout_seconds: float = 5.0) -> None:
    """Set the policy of every pool and return when it is in force.

    The policy that was set and the policy that the pool's leader applies are read separately: a benchmark of policies
    that all measured the same one is worse than none.

    Raises:
        PolicySwitchError: the order was refused, or not followed within the time.
    """
    stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)  # type: ignore[no-untyped-call]
    try:
        stub.SetPolicy(scheduler_pb2.SetPolicyRequest(policy=policy), timeout=CALL_SECONDS)
        deadline = time.monotonic() + timeout_seconds
        while (wrong := _not_followed(stub, policy)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    except grpc.RpcError as error:
        said = error.details() if isinstance(error, grpc.Call) else str(error)
        raise PolicySwitchError(f"the scheduler did not take the policy {policy!r}: {said}") from None
    if wrong:
        raise PolicySwitchError(f"the policy {policy!r} is not in force after {timeout_seconds:g} s: {wrong}")


def _not_followed(stub: scheduler_pb2_grpc.SchedulerServiceStub, policy: str) -> str:
    """Say what is not by the policy; empty where all is."""
    ordered = stub.GetPolicy(scheduler_pb2.GetPolicyRequest(), timeout=CALL_SECONDS).policy
    if ordered != policy:
        return f"GetPolicy says {ordered!r}"
    pools = [
        pool for pool in stub.GetStatus(scheduler_pb2.GetStatusRequest(), timeout=CALL_SECONDS).pools if pool.leading
    ]
    if not pools:
        return "this scheduler leads no pool"
    others = [f"pool {pool.pool!r} goes by {pool.policy!r}" for pool in pools if pool.policy != policy]
    return ", ".join(others)
