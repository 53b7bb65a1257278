"""A mesh over several hosts of a test bed, each brought up with the commands that a person would give there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sage_benchmark.hosts.host_network import HostNetwork
from sage_benchmark.isolated_mesh import IsolatedMesh
from sage_common.errors import UnavailableError
from sage_platform.supervision.state_file import SupervisorPhase, read_state

READY_SECONDS = 120.0
COMMAND_SECONDS = 60.0
NATS_PORT = 4222
POLL_SECONDS = 0.05
# Fact of a supervisor's state, see ``sage_cli.mesh.plan``.
PLAN_FACT = "plan"


@dataclass
class HostPlan:
    """What one host runs.

    Attributes:
        services: names of services.
        settings: further ``SAGE_*`` variables, and others.
        replicas: processes of a service where it is not one.
    """

    services: Sequence[str]
    settings: Mapping[str, str] = field(default_factory=dict)
    replicas: Mapping[str, int] = field(default_factory=dict)


class MeshHosts:
    """The hosts of a mesh: 1 is secured and brought up first, the others join it.

    Args:
        directory: each host has its own files below it, and sees none of another's.
        cluster: whether every host runs a NATS server; else the first alone.
    """

    def __init__(self, network: HostNetwork, directory: Path, *, cluster: bool = False) -> None:
        self.network = network
        self._directory = directory
        self._cluster = cluster
        self._meshes: dict[int, IsolatedMesh] = {}

    def __getitem__(self, host: int) -> IsolatedMesh:
        """The processes that the supervisor of a host runs."""
        return self._meshes[host]

    def environment(self, host: int, settings: Mapping[str, str]) -> dict[str, str]:
        """Return the variables of a command on a host."""
        own = self._directory / f"host{host}"
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("SAGE_", "XDG_"))}
        variables |= {f"XDG_{kind.upper()}_HOME": str(own / kind) for kind in ("config", "data", "state")}
        # Whoever reaches the gateway of this network may use it.
        variables |= {"XDG_RUNTIME_DIR": str(own / "run"), "SAGE_ACCESS_INSECURE": "true"}
        # A model that computes takes a core; who wants it names it.
        variables["SAGE_LLM_COORDINATOR_ENGINES"] = '[{"kind": "extractive"}]'
        return {**variables, **settings}

    def sage(self, host: int, *arguments: str) -> str:
        """Run a command on a host as a person would; return what it printed. Raises UnavailableError."""
        done = subprocess.run(
            self.network.command(host, [sys.executable, "-m", "sage_cli", *arguments]),
            env=self.environment(host, {}),
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        if done.returncode != 0:
            raise UnavailableError(f"sage {' '.join(arguments)} on host {host}: {done.stdout}{done.stderr}")
        return done.stdout

    def bring_up(self, plans: Mapping[int, HostPlan]) -> None:
        """Bring hosts up together and wait until all are ready. Raises UnavailableError."""
        joining = {host: plan for host, plan in plans.items() if host != 1}
        if 1 in plans:
            self.sage(1, "mesh", "secure")
            self._start(1, plans[1], ["--advertise", self.network.address(1), *self._cluster_arguments()])
            if joining:
                # It says what it is before it is ready; a NATS cluster is not until others have joined.
                self._wait(1, only_planned=True)
        for host, plan in joining.items():
            token = self.sage(1, "mesh", "token", "--host", self.network.address(host))
            file = self._directory / f"host{host}" / "join.token"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(token)
            url = f"nats://{self.network.address(1)}:{NATS_PORT}"
            if not self._cluster:
                self._wait(1)
            self._start(host, plan, ["--join", url, "--token", str(file)])
        for host in plans:
            self._wait(host)

    def bring_back(self, host: int, plan: HostPlan) -> None:
        """Bring a host up that was there before; it needs no token again."""
        own = ["--advertise", self.network.address(host)]
        if host == 1:
            own += self._cluster_arguments()
        else:
            own = ["--join", f"nats://{self.network.address(1)}:{NATS_PORT}", *own]
        self._start(host, plan, own)
        self._wait(host)

    def power_off(self, host: int) -> None:
        """End a host as a power cut does."""
        self.network.power_off(host)
        self._meshes[host].supervisor.wait()

    def take_down(self, host: int) -> None:
        """Take a host's part of the mesh down, as `sage down` does."""
        mesh = self._meshes[host]
        if mesh.supervisor.poll() is None:
            mesh.supervisor.terminate()
        try:
            mesh.supervisor.wait(COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            mesh.supervisor.kill()
            mesh.supervisor.wait()

    def close(self) -> None:
        """Take all hosts down, those that joined first."""
        for host in sorted(self._meshes, reverse=True):
            self.take_down(host)

    def _cluster_arguments(self) -> list[str]:
        if not self._cluster:
            return []
        return ["--nats-cluster", ",".join(map(self.network.address, self.network.hosts))]

    def _start(self, host: int, plan: HostPlan, arguments: Sequence[str]) -> None:
        environment = self.environment(host, plan.settings)
        own = self._directory / f"host{host}"
        own.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "sage_cli", "up", "--no-studio", "--timeout", f"{READY_SECONDS:g}"]
        command += ["--services", ",".join(plan.services), *arguments]
        for name, count in plan.replicas.items():
            command += ["--replicas", f"{name}={count}"]
        with (own / "up.log").open("ab") as log:
            supervisor = subprocess.Popen(
                self.network.command(host, command),
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        self._meshes[host] = IsolatedMesh(own, environment, supervisor)

    def _wait(self, host: int, *, only_planned: bool = False) -> None:
        mesh = self._meshes[host]
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and mesh.supervisor.poll() is None:
            state = read_state(mesh.directory / "state" / "sage")
            ours = state if state is not None and state.supervisor.pid == mesh.supervisor.pid else None
            if ours and (ours.phase is SupervisorPhase.READY or (only_planned and PLAN_FACT in ours.facts)):
                return
            time.sleep(POLL_SECONDS)
        said = (mesh.directory / "up.log").read_text(errors="replace")[-4000:]
        raise UnavailableError(f"host {host} did not come up:\n{said}")


@contextmanager
def mesh_hosts(
    network: HostNetwork, directory: Path, plans: Mapping[int, HostPlan], *, cluster: bool = False
) -> Iterator[MeshHosts]:
    """Run a mesh over hosts while the context lasts. Raises UnavailableError where one does not come up."""
    hosts = MeshHosts(network, directory, cluster=cluster)
    try:
        hosts.bring_up(plans)
        yield hosts
    finally:
        hosts.close()
