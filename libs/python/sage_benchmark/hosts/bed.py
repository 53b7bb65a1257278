"""The test bed: three hosts, a mesh over them, an engine of its own on two of them, and a bad network between them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from sage_benchmark.hosts.host_network import HostNetwork, host_network
from sage_benchmark.hosts.lease_history import Term, terms
from sage_benchmark.hosts.mesh_hosts import HostPlan, MeshHosts, mesh_hosts
from sage_common.errors import UnavailableError

DELAY_MS = 20.0
LOSS = 0.01
ENGINE_PORT = 8001
# A token each 20 ms.
STEP_SECONDS = 0.02
# One engine holds all streams of a part when the other is lost.
SEATS = 128
GATEWAY_HOST = 1
ENGINE_HOSTS = (2, 3)
GATEWAY = "http://127.0.0.1:8888"
READY_SECONDS = 60.0
POLL_SECONDS = 0.1
# Debian's libfaketime.
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


def skewed_clock(seconds: float) -> dict[str, str]:
    """Return the variables by which the processes of a host have a clock that is ``seconds`` ahead.

    Clocks that only go forward are everybody's own already. nats-server, which asks the kernel and no library, keeps
    the machine's clock.

    Monotonic clocks stay as they are: libfaketime 0.9.10 lets timed waits for locks hang where it moves them. Where it
    does not, ``time.sleep`` fails with EINVAL; the services of a mesh wait in their event loops.
    """
    return {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME": f"{seconds:+g}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def engines_of(host: int) -> dict[str, str]:
    """Return the setting by which a coordinator uses its host's engine."""
    engine = {"kind": "openai", "name": f"engine{host}", "url": f"http://127.0.0.1:{ENGINE_PORT}"}
    return {"SAGE_LLM_COORDINATOR_ENGINES": json.dumps([engine])}


def plans(engine_hosts: Sequence[int] = ENGINE_HOSTS) -> dict[int, HostPlan]:
    """Return what each host runs: where host 2 or 3 is lost, the other has all that the work needs."""
    found = {}
    for host in (GATEWAY_HOST, *ENGINE_HOSTS):
        services = ["classifier", "scheduler", *(["gateway"] if host == GATEWAY_HOST else [])]
        has_engine = host in engine_hosts
        settings = engines_of(host) if has_engine else {}
        found[host] = HostPlan([*services, *(["llm-coordinator"] if has_engine else [])], settings)
    return found


@dataclass
class Bed:
    """A running test bed.

    Attributes:
        engine_arguments: further ones of each engine.
    """

    network: HostNetwork
    hosts: MeshHosts
    engines: dict[int, subprocess.Popen[str]]
    engine_arguments: Sequence[str] = ()

    def start_engine(self, host: int) -> None:
        """Run a host's engine, once more where it was killed. Raises UnavailableError where it ends at once."""
        self._end_engine(host)
        command = [sys.executable, "-m", "sage_benchmark.simulated_engine", "--port", str(ENGINE_PORT)]
        command += ["--step-base-seconds", f"{STEP_SECONDS:g}", "--tells-capacity", "--max-num-seqs", str(SEATS)]
        command += self.engine_arguments
        process = subprocess.Popen(
            self.network.command(host, command), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )
        assert process.stdout is not None
        self.engines[host] = process
        if not process.stdout.readline():
            raise UnavailableError(f"the engine of host {host} did not start")

    def session(self) -> aiohttp.ClientSession:
        """Return a client's session; connections are opened where the thread is, see ``HostNetwork.inside``."""
        return aiohttp.ClientSession(GATEWAY, connector=aiohttp.TCPConnector(limit=0))

    def ready_engines(self) -> list[str]:
        """Return the names of the hosts' engines that the gateway calls ready."""
        with self.network.inside(GATEWAY_HOST), urllib.request.urlopen(f"{GATEWAY}/v1/management/engines") as answer:
            listed: list[dict[str, Any]] = json.load(answer)["data"]
        # An engine's id is its name and a few letters.
        names = (str(one["engine_id"]).rpartition("-")[0] for one in listed if one["phase"] == "ready")
        return sorted(name for name in names if name.startswith("engine"))

    def wait_ready(self, hosts: Sequence[int] = ENGINE_HOSTS) -> None:
        """Wait until the engines of ``hosts``, and no others, are ready. Raises UnavailableError."""
        wanted = sorted(f"engine{host}" for host in hosts)
        deadline = time.monotonic() + READY_SECONDS
        while (found := self.ready_engines()) != wanted:
            if time.monotonic() > deadline:
                raise UnavailableError(f"the gateway has {found} ready, not {wanted}")
            time.sleep(POLL_SECONDS)

    def terms(self) -> list[Term]:
        """Return who led when."""
        return terms((host, self.hosts[host].log("scheduler")) for host in self.network.hosts)

    def leader(self) -> int:
        """Return the host of the scheduler that leads the engines' pool. Raises UnavailableError."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            shown = json.loads(self.hosts.sage(GATEWAY_HOST, "status", "--json"))
            leaders = {pool["leader"] for pool in shown["pools"]}
            for host in self.network.hosts:
                own = f"scheduler-{self.hosts[host].process('scheduler').pid}-"
                if any(leader.startswith(own) for leader in leaders):
                    return host
            time.sleep(POLL_SECONDS)
        raise UnavailableError("no scheduler leads")

    def close(self) -> None:
        """End the engines."""
        for host in list(self.engines):
            self._end_engine(host)

    def _end_engine(self, host: int) -> None:
        process = self.engines.pop(host, None)
        if process is not None:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@contextmanager
def bed(
    directory: Path,
    *,
    cluster: bool = False,
    engine_hosts: Sequence[int] = ENGINE_HOSTS,
    seed: int = 1,
    host_plans: Mapping[int, HostPlan] | None = None,
    engine_arguments: Sequence[str] = (),
) -> Iterator[Bed]:
    """Run the test bed while the context lasts.

    Args:
        engine_hosts: hosts with an engine.
        cluster: whether each host runs a NATS server; else host 1 alone.
        host_plans: what each host runs, where it is not ``plans``.
        engine_arguments: further ones of each engine.

    Raises:
        UnavailableError: there can be none here, or it did not come up.
    """
    with host_network(3, seed) as network:
        network.spoil(delay_ms=DELAY_MS, loss=LOSS)
        running = Bed(network, MeshHosts(network, directory, cluster=cluster), {}, engine_arguments)
        try:
            for host in engine_hosts:
                running.start_engine(host)
            planned = host_plans or plans(engine_hosts)
            with mesh_hosts(network, directory, planned, cluster=cluster) as hosts:
                running.hosts = hosts
                running.wait_ready(engine_hosts)
                yield running
        finally:
            running.close()
