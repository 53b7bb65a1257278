"""A simulated engine within this process: where its parts meet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sage_benchmark.simulated.engine_config import EngineModelConfig
from sage_benchmark.simulated.engine_listener import EngineListener
from sage_benchmark.simulated.engine_record import EngineRecord
from sage_benchmark.simulated.engine_server import EngineServer, SimulatedModels
from sage_benchmark.simulated.http_connection import HttpConnection
from sage_control_plane.request.features import FeatureExtractor


@dataclass(frozen=True, slots=True)
class RunningEngine:
    """A simulated engine that listens."""

    server: EngineServer
    listener: EngineListener

    @property
    def url(self) -> str:
        """Base URL without ``/v1``."""
        return self.listener.url

    @property
    def record(self) -> EngineRecord:
        """What it was asked and what it sent."""
        return self.server.record

    def close(self) -> None:
        """End it; its connections break."""
        self.listener.close()
        self.server.close()


async def start_engine(
    host: str,
    port: int,
    models: SimulatedModels,
    config: EngineModelConfig,
    extract: FeatureExtractor,
    journal: Path | None = None,
) -> RunningEngine:
    """Start an engine on the running loop; port 0 takes a free one. OSError where the port is taken."""
    connections: set[HttpConnection] = set()
    listener = EngineListener(host, port, lambda: HttpConnection(server.serve, connections), connections)
    server = EngineServer(models, config, extract, listener.refuse, journal)
    await listener.open()
    return RunningEngine(server, listener)
