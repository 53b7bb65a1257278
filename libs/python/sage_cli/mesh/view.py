"""The mesh as people and scripts see it: what runs where, and which engines can do what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sage_cli.mesh.studio_process import STUDIO
from sage_client.management.views import PoolView
from sage_platform.supervision.process_status import LEAVING, NEXT

# Their servers are somebody else's: one that has not answered may be away for good, and nobody here is starting it.
ATTACHED_ENGINES = frozenset({"openai", "openai-embedding"})
# Their servers are processes of SAGE's own, each with a log of its own.
OWN_SERVERS = frozenset({"vllm", "llamacpp"})
# Weights of tens of gigabytes from a slow disk, and their compilation, are done by then; what is not may never be.
LONG_START_SECONDS = 900.0


@dataclass(frozen=True)
class ProcessView:
    """One process of the mesh.

    Attributes:
        name: its name under the supervisor, or its instance id where another machine or container runs it.
        phase: where it is in its life; ``registered`` where another supervisor runs it.
        rss_bytes: resident memory; 0 where it cannot be seen from here.
    """

    name: str
    service: str
    phase: str
    host: str
    pid: int = 0
    ports: Mapping[str, int] = field(default_factory=dict)
    serving: bool = False
    rss_bytes: int = 0
    uptime_seconds: float = 0.0
    restarts: int = 0
    message: str = ""
    log: str = ""

    @property
    def is_passing(self) -> bool:
        """Whether it is on its way in or out while a restart replaces one by the other."""
        return self.name.endswith((NEXT, LEAVING))


@dataclass(frozen=True)
class EngineView:
    """One engine.

    Attributes:
        name: what people call it, the same after each restart.
        outstanding: requests that run on it.
        capacity: requests that may be outstanding at once.
        capacity_source: who said so: ``told`` by its server, ``configured`` by an operator, or ``unknown``, where the
            number is a technical ceiling.
        waiting: requests queued inside the engine itself.
        labels: what the engine says of how it runs, e.g. its backend.
        phase_seconds: how long it has been in its phase; None where its executor does not tell.
        host: where its executor runs; empty where that is not known.
    """

    engine_id: str
    implementation: str
    phase: str
    pool: str
    executor: str
    models: tuple[str, ...]
    kinds: tuple[str, ...]
    outstanding: int
    capacity: int
    waiting: int
    reason: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    name: str = ""
    capacity_source: str = ""
    phase_seconds: float | None = None
    host: str = ""


def _long_start(engine: EngineView) -> str:
    name = engine.name or engine.engine_id
    reason = f" ({engine.reason})" if engine.reason else ""
    logs = f"sage engine logs {name}" if engine.implementation in OWN_SERVERS else "sage logs"
    seconds = f"{engine.phase_seconds or 0.0:.0f} s"
    return f"engine {name} has been starting for {seconds}{reason}; `{logs}` shows its last words"


@dataclass(frozen=True)
class HostView:
    """One machine of the mesh.

    Attributes:
        host: address that the others reach it at.
        is_this: whether it is the one that this command runs on.
        services: how many processes of each run there.
        serving: how many of its processes serve.
        engines_ready: of its ``engines``.
    """

    host: str
    is_this: bool
    services: Mapping[str, int]
    serving: int
    engines_ready: int
    engines: int


@dataclass(frozen=True)
class NatsView:
    """The NATS server."""

    url: str
    version: str
    jetstream_streams: int
    jetstream_bytes: int


@dataclass(frozen=True)
class MeshView:
    """The whole mesh.

    Attributes:
        phase: the supervisor's phase; ``stopped`` where none runs here,
            ``external`` where a mesh answers that no supervisor here runs.
        pools: as the schedulers count; empty where none answers this user.
        secured: whether its services and NATS ask for certificates.
        certificates_end_unix_seconds: when the first of its certificates ends; None where they are not this user's.
        warnings: what is well now and will not stay so, a sentence each.
        this_host: address of this machine among those of the mesh.
    """

    phase: str
    message: str = ""
    supervisor_pid: int = 0
    gateway_url: str = ""
    nats: NatsView | None = None
    processes: tuple[ProcessView, ...] = ()
    engines: tuple[EngineView, ...] = ()
    pools: tuple[PoolView, ...] = ()
    secured: bool = False
    certificates_end_unix_seconds: float | None = None
    warnings: tuple[str, ...] = ()
    this_host: str = ""

    @property
    def hosts(self) -> tuple[HostView, ...]:
        """The machines, this one first."""
        found: dict[str, list[ProcessView]] = {self.this_host: []} if self.this_host else {}
        for process in self.processes:
            found.setdefault(process.host, []).append(process)
        return tuple(
            HostView(
                host=host,
                is_this=host == self.this_host,
                services=dict(Counter(process.service for process in processes)),
                serving=sum(process.serving for process in processes),
                engines_ready=sum(engine.phase == "ready" for engine in self.engines if engine.host == host),
                engines=sum(engine.host == host for engine in self.engines),
            )
            for host, processes in found.items()
            if processes
        )

    @property
    def studio_url(self) -> str:
        """Where the studio is on this machine; empty where none runs."""
        ports = (process.ports["http"] for process in self.processes if process.service == STUDIO and process.ports)
        return next((f"http://localhost:{port}/" for port in ports), "")

    @property
    def healthy(self) -> bool:
        """Whether everything that should run does, and nothing has been reported against it."""
        return not self.problems

    @property
    def problems(self) -> tuple[str, ...]:
        """What is not well, a sentence each; empty where all is."""
        if not self.processes:
            return ("nothing is running",)
        found = [] if self.phase in ("ready", "external") else [f"the mesh is {self.phase}"]
        if self.message and not found:
            found.append(self.message)
        silent = [process for process in self.processes if not process.serving and not process.is_passing]
        for process in silent:
            there = "" if process.host in (self.this_host, "") else f" on {process.host}"
            found.append(f"{process.name}{there} does not serve; `sage logs {process.service}`{there and ' there'}")
        for engine in self.engines:
            if engine.phase == "unhealthy":
                reason = engine.reason.partition("\n")[0]
                found.append(f"engine {engine.name or engine.engine_id} is unhealthy{': ' if reason else ''}{reason}")
            elif engine.phase == "starting" and engine.implementation in ATTACHED_ENGINES:
                found.append(f"engine {engine.name or engine.engine_id} has not answered yet: {engine.reason}")
            elif engine.phase == "starting" and (engine.phase_seconds or 0.0) > LONG_START_SECONDS:
                found.append(_long_start(engine))
        if not any(engine.phase == "ready" for engine in self.engines):
            found.append("no engine is ready")
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "healthy": self.healthy,
            "problems": list(self.problems),
            "studio_url": self.studio_url,
            "hosts": [asdict(host) for host in self.hosts],
            **asdict(self),
        }
