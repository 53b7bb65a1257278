"""The hosts of a soak: a NATS server and an engine on each of three, every service on two or three of them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sage_benchmark.hosts.bed import Bed, bed, engines_of
from sage_benchmark.hosts.mesh_hosts import HostPlan
from sage_benchmark.simulated_engine.engine_config import SimulatedModels
from sage_benchmark.soak.accounts import ENGINE
from sage_benchmark.soak.killed_processes import Victim
from sage_common.ports import SagePorts
from sage_platform.supervision.process_status import ProcessIdentity, ProcessPhase

HOSTS = (1, 2, 3)
GATEWAY_HOSTS = (1, 2)
EMBEDDING_PORT = int(SagePorts.EMBEDDING_ENGINE)
# What is there once each could not be killed without an end of its work.
PLACES = {
    "gateway": GATEWAY_HOSTS,
    "classifier": HOSTS,
    "scheduler": HOSTS,
    "llm-coordinator": HOSTS,
    "embed-executor": (2, 3),
    "dataflow-worker": (1, 3),
}
SUPERVISOR = "sage up"
BACK_SECONDS = 0.2
EMBEDDING = SimulatedModels().embedding


def plans() -> dict[int, HostPlan]:
    """Return what each host runs."""
    embeddings = {
        "SAGE_EMBED_EXECUTOR_ENGINE": "openai-embedding",
        "SAGE_EMBED_EXECUTOR_MODEL": EMBEDDING,
        "SAGE_EMBED_EXECUTOR_OPENAI_EMBEDDING_URL": f"http://127.0.0.1:{EMBEDDING_PORT}",
    }
    return {
        host: HostPlan(
            [service for service, places in PLACES.items() if host in places],
            {**engines_of(host), **(embeddings if host in PLACES["embed-executor"] else {})},
        )
        for host in HOSTS
    }


@dataclass
class SoakBed:
    """A running bed."""

    bed: Bed

    @property
    def urls(self) -> dict[int, str]:
        """The gateways, by host, as a client on another host reaches them."""
        return {host: f"http://{self.bed.network.address(host)}:{SagePorts.GATEWAY_HTTP}" for host in GATEWAY_HOSTS}

    def victims(self) -> list[Victim]:
        """Return all that may be killed, in an order that is always the same."""
        found = []
        for host in HOSTS:
            statuses = self.bed.hosts[host].state.processes
            for status in sorted(statuses, key=lambda status: status.name):
                kill = partial(_kill, status.identity if status.phase is ProcessPhase.READY else None)
                found.append(Victim(host, status.name, status.service, kill))
            found.append(Victim(host, ENGINE, ENGINE, partial(self._kill_engine, host)))
        return found

    def processes(self) -> list[tuple[str, ProcessIdentity]]:
        """Return what runs of the mesh, by host and name; engines are none of it."""
        found = []
        for host in HOSTS:
            mesh = self.bed.hosts[host]
            state = mesh.state
            found.append((f"{SUPERVISOR}, host {host}", state.supervisor))
            found += [(f"{one.name}, host {host}", one.identity) for one in state.processes if one.identity is not None]
        return found

    async def keep_engines(self) -> None:
        """Bring engines back that have ended, as the supervisors do with all others."""
        while True:
            await asyncio.sleep(BACK_SECONDS)
            for host, engine in list(self.bed.engines.items()):
                if engine.poll() is not None:
                    await asyncio.to_thread(self.bed.start_engine, host)

    def _kill_engine(self, host: int) -> bool:
        engine = self.bed.engines.get(host)
        if engine is None or engine.poll() is not None:
            return False
        engine.send_signal(signal.SIGKILL)
        return True


@contextmanager
def soak_bed(directory: Path, seed: int) -> Iterator[SoakBed]:
    """Run the hosts while the context lasts. Raises UnavailableError where there can be none."""
    engine = ["--embedding-model", EMBEDDING, "--embedding-port", str(EMBEDDING_PORT)]
    with bed(
        directory, cluster=True, engine_hosts=HOSTS, seed=seed, host_plans=plans(), engine_arguments=engine
    ) as running:
        yield SoakBed(running)


def _kill(identity: ProcessIdentity | None) -> bool:
    process = identity.process() if identity is not None else None
    if process is None:
        return False
    process.kill()
    return True
