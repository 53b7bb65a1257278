"""A NATS server, a scheduler and a gateway as processes of their own, and the processor time that they use."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from sage_common.errors import UnavailableError
from sage_common.ports import free_port
from sage_platform.nats_server import find_program

START_SECONDS = 30.0
STOP_SECONDS = 20.0
# More than is ever queued.
SETTINGS = {"SAGE_SCHEDULER_MAX_QUEUED": "1000000", "SAGE_SCHEDULER_MAX_QUEUED_BYTES": str(1 << 40)}


@dataclass(frozen=True)
class Services:
    """The running processes, by service, ``nats-server`` among them.

    Attributes:
        nats_url: of the server.
    """

    nats_url: str
    processes: Mapping[str, psutil.Process]

    def cpu_seconds(self, service: str) -> float:
        """Return the processor time that a service has used so far, user and system."""
        times = self.processes[service].cpu_times()
        return float(times.user + times.system)

    def resident_mb(self, service: str) -> float:
        """Return its resident memory, in MB of 10^6 bytes."""
        return float(self.processes[service].memory_info().rss / 1e6)


@contextmanager
def running_services(directory: Path, names: tuple[str, ...] = ("scheduler", "gateway")) -> Iterator[Services]:
    """Run NATS and these services below ``directory`` for as long as the context lasts.

    Raises:
        UnavailableError: one of them did not start.
    """
    port = free_port()
    url = f"nats://127.0.0.1:{port}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SAGE_")}
    environment |= {f"XDG_{kind.upper()}_HOME": str(directory / kind) for kind in ("config", "data", "state")}
    environment |= {"SAGE_NATS_URL": url, "SAGE_GATEWAY_PORT": "0", **SETTINGS}
    for name in names:
        section = name.upper().replace("-", "_")
        environment |= {f"SAGE_{section}_GRPC_PORT": "0", f"SAGE_{section}_METRICS_PORT": "0"}
    with ExitStack() as running:
        configuration = directory / "nats.conf"
        configuration.write_text(f'max_payload: 16MB\njetstream {{ store_dir: "{directory / "nats"}" }}\n')
        nats = [str(find_program()), "-c", str(configuration), "-a", "127.0.0.1", "-p", str(port)]
        processes = {"nats-server": running.enter_context(_process("nats-server", nats, directory, environment))}
        _until_listening(port, processes["nats-server"])
        for name in names:
            command = [sys.executable, "-m", f"sage_{name.replace('-', '_')}"]
            processes[name] = running.enter_context(_process(name, command, directory, environment))
        yield Services(url, {name: psutil.Process(process.pid) for name, process in processes.items()})


@contextmanager
def _process(
    name: str, command: list[str], directory: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    with (directory / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise UnavailableError(f"{process.args!r} did not listen on port {port}")
