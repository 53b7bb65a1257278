"""A whole mesh of its own, for benchmarks and tests: started with ``sage up`` as a user would, on free ports, with its
files in a directory of its own, and taken down with everything it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from sage_common.errors import UnavailableError
from sage_platform.supervision.process_status import ProcessPhase, ProcessStatus
from sage_platform.supervision.state_file import SupervisorPhase, SupervisorState, read_state

SECTIONS_WITH_PORTS = ("GATEWAY", "CLASSIFIER", "SCHEDULER", "EMBED_EXECUTOR", "LLM_COORDINATOR", "DATAFLOW_WORKER")
STOP_SECONDS = 40.0


@dataclass
class IsolatedMesh:
    """A running mesh.

    Attributes:
        environment: what a further command needs to reach the same mesh.
        ready_seconds: from the start of ``sage up`` until it said that all is ready.
    """

    directory: Path
    environment: dict[str, str]
    supervisor: subprocess.Popen[bytes]
    ready_seconds: float = 0.0

    @property
    def state(self) -> SupervisorState:
        """What the supervisor says now."""
        state = read_state(self.directory / "state" / "sage")
        if state is None:
            raise UnavailableError(f"no mesh runs in {self.directory}")
        return state

    @property
    def gateway_url(self) -> str:
        """Base URL of the gateway, without ``/v1``."""
        return self.state.facts["gateway_url"]

    @property
    def nats_url(self) -> str:
        """URL of the NATS server, with the token that it asks for."""
        token = (self.directory / "state" / "sage" / "mesh.token").read_text(encoding="utf-8")
        scheme, _, address = self.state.facts["nats_url"].partition("://")
        return f"{scheme}://{token}@{address}"

    @property
    def studio_url(self) -> str:
        """Base URL of the studio. Raises UnavailableError where none runs."""
        for status in self.processes("studio"):
            if "http" in status.ports:
                return f"http://127.0.0.1:{status.ports['http']}"
        raise UnavailableError(f"no studio runs in {self.directory}")

    def processes(self, service: str) -> list[ProcessStatus]:
        """The replicas of a service."""
        return [status for status in self.state.processes if status.service == service]

    def process(self, name: str) -> psutil.Process:
        """The running process of a replica. Raises UnavailableError when it does not run."""
        for status in self.state.processes:
            if status.name == name and status.identity is not None:
                process = status.identity.process()
                if process is not None:
                    return process
        raise UnavailableError(f"no process {name!r} runs")

    def wait_ready(self, name: str, *, not_pid: int, timeout_seconds: float = 60.0) -> ProcessStatus:
        """Wait until the supervisor has ``name`` ready again under another pid."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            for status in self.state.processes:
                other = status.identity is not None and status.identity.pid != not_pid
                if status.name == name and other and status.phase is ProcessPhase.READY:
                    return status
            time.sleep(0.02)
        raise UnavailableError(f"{name} was not ready again within {timeout_seconds:g} s")

    def log(self, name: str) -> str:
        """What a process has written."""
        path = self.directory / "state" / "sage" / "logs" / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self) -> None:
        """Take it down. Raises TimeoutError when it does not end."""
        if self.supervisor.poll() is None:
            self.supervisor.send_signal(signal.SIGTERM)
        try:
            self.supervisor.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.supervisor.kill()
            self.supervisor.wait(5)
            raise TimeoutError(f"the mesh in {self.directory} did not stop within {STOP_SECONDS:g} s") from None


@contextmanager
def isolated_mesh(
    directory: Path,
    *,
    llm: str | None = None,
    replicas: Mapping[str, int] | None = None,
    settings: Mapping[str, str] | None = None,
    timeout_seconds: float = 120.0,
    studio: bool = False,
) -> Iterator[IsolatedMesh]:
    """Run a mesh below ``directory`` for as long as the context lasts.

    Args:
        llm: URL or model, as for ``sage up --llm``.
        replicas: processes of each service where it is not one.
        studio: also run the studio, on a free port.
        settings: further ``SAGE_*`` variables. Without ``llm`` and these the only LLM engine is the extractive one.

    Raises:
        UnavailableError: it did not come up; the message holds what ``sage up`` said.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SAGE_")}
    environment |= {f"XDG_{kind.upper()}_HOME": str(directory / kind) for kind in ("config", "data", "state")}
    environment["SAGE_NATS_URL"] = "nats://127.0.0.1:0"
    environment |= {"SAGE_GATEWAY_PORT": "0", "SAGE_STUDIO_PORT": "0"}
    for section in SECTIONS_WITH_PORTS:
        environment[f"SAGE_{section}_GRPC_PORT"] = "0"
        environment[f"SAGE_{section}_METRICS_PORT"] = "0"
    # What is measured on a first start takes time, and its outcome would be one more thing that differs between runs.
    environment |= {"SAGE_EMBED_EXECUTOR_BACKEND": "torch", "SAGE_EMBED_EXECUTOR_PRECISION": "fp32"}
    # A model that computes takes a core; who wants it names it.
    environment["SAGE_LLM_COORDINATOR_ENGINES"] = '[{"kind": "extractive"}]'
    environment |= settings or {}
    command = [sys.executable, "-m", "sage_cli", "up", "--timeout", f"{timeout_seconds:g}"]
    command += ["--studio" if studio else "--no-studio"]
    command += ["--llm", llm] if llm else []
    for name, count in (replicas or {}).items():
        command += ["--replicas", f"{name}={count}"]
    directory.mkdir(parents=True, exist_ok=True)
    output = directory / "up.log"
    with output.open("wb") as log:
        began = time.monotonic()
        supervisor = subprocess.Popen(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
    mesh = IsolatedMesh(directory, environment, supervisor)
    try:
        _wait_until_ready(mesh, output, began + timeout_seconds + 5)
        mesh.ready_seconds = time.monotonic() - began
        environment["SAGE_NATS_URL"] = mesh.nats_url
        yield mesh
    finally:
        mesh.stop()


def _wait_until_ready(mesh: IsolatedMesh, output: Path, deadline: float) -> None:
    while time.monotonic() < deadline and mesh.supervisor.poll() is None:
        state = read_state(mesh.directory / "state" / "sage")
        if state is not None and state.phase is SupervisorPhase.READY:
            return
        time.sleep(0.02)
    raise UnavailableError("the mesh did not come up:\n" + output.read_text(errors="replace")[-4000:])
